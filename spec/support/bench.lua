-- What the sections of `make bench` measure and tell with.
--
-- Figures that are compared are taken in interleaved rounds, and compared within a round: what else the
-- machine does then touches all of them alike. Processor time, which is the operating system's own accounting
-- of every process that took part, counts for more than elapsed time.
local cjson = require "cjson"
local stdlib = require "posix.stdlib"
local process = require "support.process"
local linux = require "support.linux"

local PATIENCE_SECONDS = 300 -- for one measurement
local LOOK_SECONDS = 0.05    -- from look to look at what runs
local BROKER_SECONDS = 180

local bench = {
  rounds = 5, -- how often each thing is measured
}

-- Statistics.

---@param figures number[]
---@param share number 0.5 is the median
---@return number
function bench.quantile(figures, share)
  local sorted = { unpack(figures) }
  table.sort(sorted)
  local place = 1 + (#sorted - 1) * share
  local below = math.floor(place)
  local above = math.min(below + 1, #sorted)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
end

---@param figures number[]
---@return { median: number, least: number, most: number, count: integer }
function bench.summary(figures)
  return {
    median = bench.quantile(figures, 0.5),
    least = bench.quantile(figures, 0),
    most = bench.quantile(figures, 1),
    count = #figures,
  }
end

---Measures each variant once in each round, in an order that turns from round to round.
---@param variants string[] names
---@param measure fun(variant: string, round: integer): table<string, number> figures by name
---@param rounds? integer
---@return table<string, table<string, number[]>> by variant and figure, in the order of the rounds
function bench.interleave(variants, measure, rounds)
  local results = {}
  for round = 1, rounds or bench.rounds do
    for i = 1, #variants do
      local variant = variants[(i + round - 2) % #variants + 1]
      results[variant] = results[variant] or {}
      for name, figure in pairs(measure(variant, round)) do
        results[variant][name] = results[variant][name] or {}
        results[variant][name][round] = figure
      end
    end
  end
  return results
end

---Round by round, one variant's figure over another's.
---@return number[]
function bench.ratios(figures, base)
  local ratios = {}
  for round = 1, #figures do
    ratios[round] = figures[round] / base[round]
  end
  return ratios
end

-- Telling.

local function text_of(figure)
  local size = math.abs(figure)
  local digits = size >= 1000 and 0 or size >= 100 and 1 or size >= 1 and 2 or 3
  local text = ("%." .. digits .. "f"):format(figure)
  local grouped
  repeat
    text, grouped = text:gsub("^(%-?%d+)(%d%d%d)", "%1,%2")
  until grouped == 0
  return text
end

---A number as tables show it; a list of them as its median (least to most).
---@param figure number|number[]|string
---@return string
function bench.text(figure)
  if type(figure) == "table" then
    local all = bench.summary(figure)
    return ("%s (%s to %s)"):format(text_of(all.median), text_of(all.least), text_of(all.most))
  end
  return type(figure) == "number" and text_of(figure) or figure
end

---Prints a table. Its first column is text, the others are whatever bench.text takes.
---@param head string[]
---@param rows any[][]
function bench.table(head, rows)
  local lines, widths = { head }, {}
  for _, row in ipairs(rows) do
    local line = {}
    for column, figure in ipairs(row) do line[column] = bench.text(figure) end
    lines[#lines + 1] = line
  end
  for _, line in ipairs(lines) do
    for column, text in ipairs(line) do widths[column] = math.max(widths[column] or 0, #text) end
  end
  print()
  for _, line in ipairs(lines) do
    local cells = { ("%-" .. widths[1] .. "s"):format(line[1]) }
    for column = 2, #line do cells[column] = ("%" .. widths[column] .. "s"):format(line[column]) end
    print("    " .. table.concat(cells, "   "))
  end
  print()
end

local claims = {}

---Holds a figure against what is claimed of it.
---@param sentence string "a recycle's pause, median, under 300 µs"
---@param holds boolean
---@param figure number|number[]|string what was measured
function bench.claim(sentence, holds, figure)
  claims[#claims + 1] = { claim = sentence, holds = holds, figure = bench.text(figure) }
  print(("    %-14s %s: %s"):format(holds and "holds" or "DOES NOT HOLD", sentence, bench.text(figure)))
end

function bench.claims()
  return claims
end

function bench.tell_claims()
  local broken = 0
  for _, claim in ipairs(claims) do
    broken = broken + (claim.holds and 0 or 1)
  end
  print(("\n%d of %d claims hold"):format(#claims - broken, #claims))
end

function bench.cores()
  local count = 0
  for line in io.lines("/proc/cpuinfo") do
    count = count + (line:find("^processor%s") and 1 or 0)
  end
  return count
end

-- Measuring.

---Runs the C program of spec/bench/NAME.c and decodes what it tells: a line that is a JSON object.
---@param name string
---@vararg string
---@return table
function bench.program(name, ...)
  local result = process.run({ "build/release/bench/" .. name, ... }, { timeout = PATIENCE_SECONDS })
  if result.code ~= 0 then
    error(("%s ended with %s: %s"):format(name, tostring(result.code or result.signal), result.err), 2)
  end
  return cjson.decode((("\n" .. result.out):match("\n(%b{})")))
end

local function start_broker()
  local folder = os.getenv("MR_BROKER_DIR")
  local command = folder and "env" or "start"
  folder = folder or assert(os.getenv("MR_BENCH_DIR"), "run it by scripts/dev/bench") .. "/broker"
  local result = process.run({ "scripts/dev/broker", command, folder }, { timeout = BROKER_SECONDS })
  if result.code ~= 0 then
    error("no broker: " .. result.err, 0)
  end
  for name, value in result.out:gmatch("export ([%w_]+)='?([^'\n]*)'?") do
    stdlib.setenv(name, value)
  end
end

local rabbit

---The private broker, started by the first who asks.
---@return table support.rabbit
function bench.rabbit()
  if not rabbit then
    start_broker()
    rabbit = require "support.rabbit"
  end
  return rabbit
end

---Ends and removes what a measurement made, as specs do after each.
function bench.clean_up()
  process.kill_all()
  for _, name in ipairs { "support.moonrabbit", "support.rabbit", "support.workspace" } do
    if package.loaded[name] then package.loaded[name].cleanup() end
  end
end

---Puts messages into a new queue: transient and unconfirmed, which is quick; the broker closes the connection
---when it has taken all of them.
---@param job { messages: integer, body: string, content_type?: string }
---@return string queue
function bench.fill(job)
  local queue = bench.rabbit().queue "bench"
  local connection = assert(bench.rabbit().connect())
  local properties = { content_type = job.content_type or "application/json", message_id = "%d" }
  assert(connection:publish_many("", queue, job.messages, job.body, properties))
  assert(connection:close())
  return queue
end

---Waits for the end of a program, which must be one in order.
---@param program table of process.start
---@param watch? fun(program: table) called over and over while it runs
function bench.wait(program, watch)
  local deadline = linux.now() + PATIENCE_SECONDS
  while not program:wait(watch and LOOK_SECONDS or PATIENCE_SECONDS) and program:running() do
    if linux.now() >= deadline then error("it takes longer than any measurement may", 0) end
    if watch then watch(program) end
  end
  if program.code ~= 0 then
    error(("%s ended with %s: %s"):format(table.concat(program.argv, " "):sub(1, 100),
      tostring(program.code or program.signal), program:stderr():sub(-2000)), 0)
  end
end

---Puts messages into a new queue and has moonrabbit settle all of them.
---@param job { handler: string, messages: integer, body: string, content_type?: string,
---  flags?: table<string, any>, watch?: fun(program: table) } watch: called over and over while it runs
---@return { rate: number, cpu_us: number, peak_rss: integer, counts: table<string, integer> } messages a
---  second, consuming; processor time of host and workers for a message, starting and stopping included; the
---  most memory of any one process; the program's own counts
function bench.consume(job)
  local queue = bench.fill(job)
  local consumer = require "support.consumer"
  local flags = { prefetch = 256, ["max-messages"] = job.messages }
  for name, value in pairs(job.flags or {}) do
    flags[name] = value
  end
  local program = consumer.start(queue, job.handler, flags)
  consumer.wait_consuming(program)
  local began = linux.now()
  bench.wait(program, job.watch)
  local seconds = linux.now() - began
  bench.clean_up()
  return {
    rate = job.messages / seconds,
    cpu_us = program.usage.cpu_seconds / job.messages * 1e6,
    peak_rss = program.usage.peak_rss,
    counts = consumer.counts(program),
  }
end

---A body of 250 bytes of JSON, with the message's number for its id.
bench.ORDER = ('{"id":%%d,"customer":"customer-17","total":12345,"items":[' ..
  '{"goods":"carrot","quantity":3,"price":2599},{"goods":"lantern","quantity":1,"price":1499}],"note":"%s"}')
  :format(("ring twice, and leave it with the rabbit in the moon if nobody opens "):rep(2):sub(1, 87))

---A handler that reads such an order.
bench.ADDS_UP = [[
  return function(order)
    local total = 0
    for _, item in ipairs(order.items) do
      total = total + item.quantity * item.price
    end
    if total == 1 then return "reject", "too cheap" end
  end
]]

return bench
