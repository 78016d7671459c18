-- What exchanging Lua states costs: throughput with a new state every 1,000 messages against none ever, and
-- how long a recycle keeps the next message waiting.
local MESSAGES = 200000
local EVERY = 1000
local ROUNDS_AT_LEAST = 11 -- two hundredths are to be told apart, and rounds differ by seven

local VARIANTS = { "never", "every 1,000" }

local function throughput(bench)
  local results = bench.interleave(VARIANTS, function(variant)
    local every = variant == "never" and 1e9 or EVERY
    local run = bench.consume { handler = bench.ADDS_UP, messages = MESSAGES, body = bench.ORDER,
      flags = { ["recycle-messages"] = ("%d"):format(every) } }
    return { rate = run.rate, cpu_us = run.cpu_us }
  end, math.max(bench.rounds, ROUNDS_AT_LEAST))
  local never, often = results.never, results["every 1,000"]
  local rate, cpu = bench.ratios(often.rate, never.rate), bench.ratios(often.cpu_us, never.cpu_us)
  bench.table({ "recycled", "messages/s", "CPU µs a message" }, {
    { "never", never.rate, never.cpu_us },
    { "every 1,000 messages", often.rate, often.cpu_us },
    { "ratio, by rounds", rate, cpu },
  })
  bench.claim("recycling every 1,000 messages costs under 2 % of throughput",
    bench.quantile(rate, 0.5) > 0.98, rate)
  bench.claim("recycling every 1,000 messages costs under 2 % of the processor time of host and worker",
    bench.quantile(cpu, 0.5) < 1.02, cpu)
  return { never = never, every_1000 = often, rate_ratio = rate, cpu_ratio = cpu }
end

-- The worker alone, without a broker: less is left to chance.
local function worker(bench)
  local pauses_us = {}
  local results = bench.interleave(VARIANTS, function(variant)
    local told = bench.program("recycling", variant == "never" and "0" or tostring(EVERY))
    for _, pause_ns in ipairs(told.pause_ns) do
      pauses_us[#pauses_us + 1] = pause_ns / 1000
    end
    return { cpu_ns = told.cpu_ns }
  end)
  local never, often = results.never.cpu_ns, results["every 1,000"].cpu_ns
  local recycle_us = {}
  for round = 1, #never do
    recycle_us[round] = (often[round] - never[round]) * EVERY / 1000
  end
  local median, tail = bench.quantile(pauses_us, 0.5), bench.quantile(pauses_us, 0.99)
  bench.table({ "the worker alone", "CPU ns a message" }, {
    { "never recycled", never }, { "recycled every 1,000 messages", often },
  })
  bench.table({ "a recycle", "µs" }, {
    { "pause, median", median },
    { "pause, 99 of 100", tail },
    { "pause, longest", bench.quantile(pauses_us, 1) },
    { "processor time, warming up included", recycle_us },
  })
  bench.claim("a recycle's pause: median under 300 µs", median < 300, median)
  bench.claim("a recycle's pause: 99 of 100 under 2 ms", tail < 2000, tail)
  return { never_cpu_ns = never, every_1000_cpu_ns = often, recycle_cpu_us = recycle_us,
    pause_us = { median = median, p99 = tail, count = #pauses_us } }
end

return {
  about = "what exchanging Lua states costs, and how long a recycle takes",
  run = function(bench)
    return { worker = worker(bench), throughput = throughput(bench) }
  end,
}
