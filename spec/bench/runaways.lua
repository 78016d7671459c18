-- How soon a runaway is over, of every kind that the corpus of hostile scripts has, and how soon the message
-- behind it is handled.
local time = require "posix.sys.time"

local corpus -- support.corpus, when there is a broker

local DEADLINE, GRACE, SLACK = 0.7, 0.4, 0.1 -- seconds
local REPLACED = 0.05
local ROUNDS_MAX = 2
local DAY_SECONDS = 24 * 60 * 60
local RUNAWAYS = { ["out of time"] = true, killed = true, compiled = true, ended = true }

local function runaways()
  local found = {}
  for _, script in ipairs(corpus.scripts "time") do
    script.limits = {}
    found[#found + 1] = RUNAWAYS[script.expect] and script or nil
  end
  return found
end

-- Of a log line, and now: seconds since midnight.
local function seconds_of(line)
  local hour, minute, second = line.time:match("T(%d+):(%d+):([%d.]+)Z")
  return hour * 3600 + minute * 60 + second
end

local function seconds_now()
  local now = time.gettimeofday()
  return (now.tv_sec + now.tv_usec / 1e6) % DAY_SECONDS
end

local function wait(program, wanted, after)
  local line, at = program:wait_log(wanted, { after = after, timeout = 60 })
  return assert(line, at), at
end

-- One attack on an idle worker, and a neighbour behind it -> how long either took, and who ended the attack.
local function measure(run, script, round)
  local began = seconds_now()
  corpus.publish(run.connection, script, "attack")
  corpus.publish(run.connection, script, round)
  local ended, at = wait(run.program, { queue = script.queue, id = "attack" }, run.at)
  local handled
  handled, run.at = wait(run.program, { msg = "handled", consumer = script.queue, id = round }, at)
  local over, next_over = seconds_of(ended), seconds_of(handled)
  return {
    ended = (over - began) % DAY_SECONDS,
    replaced = (next_over - over) % DAY_SECONDS,
    by = ended.msg:find("its worker died", 1, true) and "kill" or "hook",
  }
end

local function start(scripts)
  local rabbit, moonrabbit = require "support.rabbit", require "support.moonrabbit"
  local run = { connection = assert(rabbit.connect()), at = 0 }
  assert(run.connection:confirm_select())
  local configuration = corpus.lay_out(scripts, { memory = "32MiB",
    deadline = DEADLINE .. "s", grace = GRACE .. "s" })
  run.program = moonrabbit.start("run", "-c", configuration, "--retry-attempts=1")
  for _, script in ipairs(scripts) do
    corpus.publish(run.connection, script, 0)
    wait(run.program, { msg = "handled", consumer = script.queue, id = 0 })
  end
  return run
end

local function most(figures)
  return math.max(unpack(figures))
end

return {
  about = "how soon a runaway handler is over, and its worker replaced",
  run = function(bench)
    bench.rabbit()
    corpus = require "support.corpus"
    local scripts, rows, results = runaways(), {}, {}
    local run = start(scripts)
    local ended, replaced = {}, {}
    for i, script in ipairs(scripts) do
      local result = { ended = {}, replaced = {} }
      for round = 1, math.min(bench.rounds, ROUNDS_MAX) do
        local figures = measure(run, script, round)
        result.ended[round], result.replaced[round] = figures.ended * 1000, figures.replaced * 1000
        result.by = figures.by
      end
      ended[i], replaced[i] = most(result.ended), most(result.replaced)
      results[script.name] = result
      rows[i] = { script.name, result.by, result.ended, result.replaced }
    end
    bench.clean_up()
    bench.table({ "kind", "ended by", "over after, ms", "next message handled, ms later" }, rows)
    bench.claim(("%d kinds are over within deadline + grace + %g ms (%g ms)"):format(#scripts, SLACK * 1000,
      (DEADLINE + GRACE + SLACK) * 1000), most(ended) < (DEADLINE + GRACE + SLACK) * 1000, ended)
    bench.claim(("the worker behind a runaway is replaced within %g ms"):format(REPLACED * 1000),
      most(replaced) < REPLACED * 1000, replaced)
    return results
  end,
}
