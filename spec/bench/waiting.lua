-- What a worker does while its handlers wait: each message is a call by HTTP that takes 100 ms, to a server
-- on this machine, which takes its own share of the processor.
local process = require "support.process"

local VARIANTS = { { concurrency = 1, messages = 60 }, { concurrency = 256, messages = 12000 } }
local CALL_SECONDS = 0.1

local HANDLER = [[
  local http = require "http"
  return function() return http.get(%q).status == 200 end]]

local function serve()
  local server = process.start { "luajit", "spec/support/http_server.lua" }
  assert(server:wait_until(function() return server.out:text():find "\n" end))
  return "127.0.0.1:" .. server.out:text():match "%d+"
end

local function measure(bench, variant)
  local host = serve()
  local run = bench.consume {
    handler = HANDLER:format(("http://%s/delay/%d"):format(host, CALL_SECONDS * 1000)),
    messages = variant.messages, body = bench.ORDER,
    flags = { concurrency = variant.concurrency, prefetch = 2 * variant.concurrency, ["http-allow"] = host,
      ["http-per-host"] = variant.concurrency, ["broker-heartbeat"] = "2s" },
  }
  assert(run.counts.redelivered == 0, "a message was delivered twice")
  return { rate = run.rate, cpu_us = run.cpu_us }
end

return {
  about = "handlers that wait for 100 ms each, in one worker",
  run = function(bench)
    local rows, results = {}, {}
    for i, variant in ipairs(VARIANTS) do
      local rates, costs = {}, {}
      for round = 1, bench.rounds do
        local run = measure(bench, variant)
        rates[round], costs[round] = run.rate, run.cpu_us
      end
      local most = variant.concurrency / CALL_SECONDS
      rows[i] = { ("%d at once"):format(variant.concurrency), rates, most, costs }
      results[i] = { concurrency = variant.concurrency, rate = rates, cpu_us = costs }
    end
    bench.table({ "under way", "messages/s", "can be at most", "CPU µs a message" }, rows)
    bench.claim("256 at once: at least 2,000 messages a second",
      bench.quantile(results[2].rate, 0.5) >= 2000, results[2].rate)
    return results
  end,
}
