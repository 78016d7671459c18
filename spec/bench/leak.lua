-- A handler that leaks on purpose, keeping every body: that it costs neither memory, nor throughput, nor a
-- single message.
local process = require "support.process"

local MANY = 1000000  -- messages through one worker, while its memory is looked at
local MESSAGES = 200000 -- in each run that is timed: a state that leaks is full once
local QUOTA_MIB = 64
local MIB = 1024 * 1024

-- The same without the leak: it keeps the last body only.
local CLEAN = [[
  local log = require "log"
  local kept
  return function(order, message)
    kept = message.body
    if order.total == 1 then log.info(kept) end
  end
]]

local LEAKING = [[
  local log = require "log"
  local kept = {}
  return function(order, message)
    kept[#kept + 1] = message.body
    if order.total == 1 then log.info(kept[1]) end
  end
]]

-- What ends the states: so many messages, or what lives in them.
local BY_MESSAGES = { ["limits-memory"] = QUOTA_MIB .. "MiB", ["recycle-messages"] = 10000 }
local BY_MEMORY = { ["limits-memory"] = QUOTA_MIB .. "MiB", ["recycle-messages"] = 1e9,
  ["recycle-memory"] = QUOTA_MIB * 3 / 4 .. "MiB" }

local VARIANTS = { "no leak", "leak, recycled by messages", "leak, recycled by memory" }
local JOBS = {
  ["no leak"] = { handler = CLEAN, flags = BY_MESSAGES },
  ["leak, recycled by messages"] = { handler = LEAKING, flags = BY_MESSAGES },
  ["leak, recycled by memory"] = { handler = LEAKING, flags = BY_MEMORY },
}

local function text(flags)
  local copy = {}
  for name, value in pairs(flags) do
    copy[name] = type(value) == "number" and ("%d"):format(value) or value
  end
  return copy
end

local function run(bench, variant, messages, watch)
  local job = JOBS[variant]
  return bench.consume { handler = job.handler, flags = text(job.flags), messages = messages,
    body = bench.ORDER, watch = watch }
end

-- The most that any worker had resident, looked at all along.
local function bounded(bench, variant, messages)
  local peak = 0
  local done = run(bench, variant, messages, function(program)
    for _, pid in ipairs(program:children()) do
      peak = math.max(peak, process.peak_rss(pid) or 0)
    end
  end)
  return { peak_mib = peak / MIB, counts = done.counts }
end

local function memory(bench)
  local results, rows = {}, {}
  for i, variant in ipairs(VARIANTS) do
    local result = bounded(bench, variant, variant == "no leak" and MESSAGES or MANY)
    results[variant] = result
    rows[i] = { variant, result.counts.acked, result.counts.redelivered, result.peak_mib }
  end
  bench.table({ "one worker", "messages", "redelivered", "most resident, MiB" }, rows)
  for _, variant in ipairs { VARIANTS[2], VARIANTS[3] } do
    local result = results[variant]
    bench.claim(variant .. ": resident under the baseline and the quota",
      result.peak_mib < results["no leak"].peak_mib + QUOTA_MIB, result.peak_mib)
    bench.claim(variant .. ": every message acked once, none redelivered",
      result.counts.acked == MANY and result.counts.redelivered == 0,
      ("%d acked, %d redelivered"):format(result.counts.acked, result.counts.redelivered))
  end
  return results
end

local function throughput(bench)
  local results = bench.interleave(VARIANTS, function(variant)
    local done = run(bench, variant, MESSAGES)
    return { rate = done.rate, cpu_us = done.cpu_us }
  end)
  local rows, clean = {}, results["no leak"]
  for i, variant in ipairs(VARIANTS) do
    local figures = results[variant]
    figures.rate_ratio = bench.ratios(figures.rate, clean.rate)
    rows[i] = { variant, figures.rate, figures.cpu_us, figures.rate_ratio,
      bench.ratios(figures.cpu_us, clean.cpu_us) }
  end
  bench.table({ "", "messages/s", "CPU µs a message", "messages/s, ratio", "CPU, ratio" }, rows)
  for _, variant in ipairs { VARIANTS[2], VARIANTS[3] } do
    bench.claim(variant .. ": within 2 % of the throughput without the leak",
      bench.quantile(results[variant].rate_ratio, 0.5) > 0.98, results[variant].rate_ratio)
  end
  return results
end

return {
  about = "a handler that leaks on purpose, in memory, throughput and messages",
  run = function(bench)
    return { memory = memory(bench), throughput = throughput(bench) }
  end,
}
