-- moonrabbit beside what people write without it, on one broker with the same messages: consumers in C on
-- rabbitmq-c (spec/bench/peers.c) that do nothing but ack, and one with LuaJIT and cjson inside that runs the
-- same handler without a sandbox.
local cjson = require "cjson"
local process = require "support.process"

local MESSAGES = 100000
local PATIENCE_SECONDS = 300

local HANDLER = [[
  return function(order)
    local total = 0
    for _, item in ipairs(order.items) do
      total = total + item.quantity * item.price
    end
    if total == 1 then return "reject", "too cheap" end
  end
]]

local OURS, PLAIN, PLAIN_64, LUA = "moonrabbit", "C, ack per message", "C, ack every 64",
  "C + LuaJIT + cjson, ack per message"
local VARIANTS = { OURS, PLAIN, PLAIN_64, LUA }
local ACK_EVERY = { [PLAIN] = 1, [PLAIN_64] = 64, [LUA] = 1 }

local function run_peer(bench, variant)
  local rabbit = bench.rabbit()
  local user, password, host, port = rabbit.url:match("^amqp://([^:]+):([^@]+)@([^:]+):(%d+)/")
  local queue = bench.fill { messages = MESSAGES, body = bench.ORDER }
  local words = { "build/release/bench/peers", host, port, user, password, queue, ("%d"):format(MESSAGES),
    ("%d"):format(ACK_EVERY[variant]) }
  if variant == LUA then words[#words + 1] = HANDLER end
  local result = process.run(words, { timeout = PATIENCE_SECONDS })
  bench.clean_up()
  if result.code ~= 0 then error(variant .. ": " .. result.err, 0) end
  return {
    rate = MESSAGES / cjson.decode(result.out).seconds,
    cpu_us = result.usage.cpu_seconds / MESSAGES * 1e6,
    peak_mib = result.usage.peak_rss / 1024 / 1024,
  }
end

local function measure(bench, variant)
  if variant ~= OURS then return run_peer(bench, variant) end
  local run = bench.consume { handler = HANDLER, messages = MESSAGES, body = bench.ORDER }
  return { rate = run.rate, cpu_us = run.cpu_us, peak_mib = run.peak_rss / 1024 / 1024 }
end

local function run(bench)
  local results = bench.interleave(VARIANTS, function(variant) return measure(bench, variant) end)
  local ours, rows = results[OURS], {}
  for i, variant in ipairs(VARIANTS) do
    local figures = results[variant]
    rows[i] = { variant, figures.rate, figures.cpu_us, figures.peak_mib,
      bench.ratios(ours.rate, figures.rate), bench.ratios(ours.cpu_us, figures.cpu_us) }
  end
  bench.table({ "250 B JSON, prefetch 256", "messages/s", "CPU µs a message", "peak MiB of a process",
    "moonrabbit's messages/s over it", "CPU over it" }, rows)
  local cpu = bench.ratios(ours.cpu_us, results[LUA].cpu_us)
  local rate = bench.ratios(ours.rate, results[PLAIN].rate)
  bench.claim("no more processor time than LuaJIT and cjson in a C consumer that acks each message",
    bench.quantile(cpu, 0.5) <= 1, cpu)
  bench.claim("as many messages a second as a plain C consumer that acks each message",
    bench.quantile(rate, 0.5) >= 1, rate)
  return results
end

return {
  about = "beside consumers in C, with and without LuaJIT inside, on one broker",
  run = run,
}
