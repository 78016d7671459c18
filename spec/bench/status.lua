-- What being looked at costs: /metrics and /status, asked for while messages are handled, against nobody who
-- asks. A hundredth drowns in what else a machine does, so both are asked for ten times a second too, and a
-- tenth of what that costs is held against the claim.
local http = require "support.http"
local linux = require "support.linux"

local MESSAGES = 150000
local ROUNDS_AT_LEAST = 7
local VARIANTS = { "nobody", "every second", "ten a second" }
local PAUSES = { ["every second"] = 1, ["ten a second"] = 0.1 } -- seconds

-- Asks when it is time; bench.consume calls it over and over.
local function watcher(pause)
  local address, due, asked = nil, linux.now(), 0
  return function(program)
    address = address or pause and program:wait_log({ msg = "status listens" }).address
    if pause and linux.now() >= due then
      due, asked = due + pause, asked + 1
      http.get(address, "/metrics")
      http.get(address, "/status")
    end
    return asked
  end
end

local function per_second(ratios)
  local shares = {}
  for round, ratio in ipairs(ratios) do shares[round] = (ratio - 1) / 10 * 100 end
  return shares
end

return {
  about = "what it costs to be asked for metrics and status",
  run = function(bench)
    local results = bench.interleave(VARIANTS, function(variant)
      local run = bench.consume { handler = "return function() end", messages = MESSAGES, body = bench.ORDER,
        flags = { ["status-listen"] = "127.0.0.1:0" }, watch = watcher(PAUSES[variant]) }
      return { rate = run.rate, cpu_us = run.cpu_us }
    end, math.max(bench.rounds, ROUNDS_AT_LEAST))
    local alone, often = results.nobody, results["ten a second"]
    local rows = {}
    for i, variant in ipairs(VARIANTS) do
      local it = results[variant]
      rows[i] = { variant, it.rate, it.cpu_us, bench.ratios(it.rate, alone.rate),
        bench.ratios(it.cpu_us, alone.cpu_us) }
    end
    bench.table({ "asked by", "messages/s", "CPU µs a message", "rate, ratio", "CPU, ratio" }, rows)
    local cpu = per_second(bench.ratios(often.cpu_us, alone.cpu_us))
    local rate = per_second(bench.ratios(alone.rate, often.rate))
    bench.claim("to be asked every second costs under 1 % of throughput", bench.quantile(rate, 0.5) < 1, rate)
    bench.claim("and under 1 % of the processor time of host and worker", bench.quantile(cpu, 0.5) < 1, cpu)
    return { by_variant = results, rate_percent = rate, cpu_percent = cpu }
  end,
}
