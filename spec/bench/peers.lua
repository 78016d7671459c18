-- moonrabbit beside what people write without it, on one broker with the same messages: consumers in C on
-- rabbitmq-c (spec/bench/peers.c) that do nothing but ack, one with LuaJIT and cjson inside that runs the
-- same handler without a sandbox, and the usual ones in PHP, Python and JavaScript (spec/bench/peers), as far
-- as this machine has what they need.
--
-- Processor time is that of all processes of a consumer, as the operating system counts it. What starting and
-- stopping takes, which a run with one message tells, is not in it: consumers live longer than a benchmark.
local cjson = require "cjson"
local process = require "support.process"
local support = require "support.bench"
local stat = require "posix.sys.stat"

local FOLDER = "spec/bench/peers"
local NEVER = "1000000000" -- messages until a state is recycled
local STARTS = 3           -- runs with one message, of which the median counts

local HANDLERS = {
  json = support.ADDS_UP,
  raw = [[
    return function(body)
      if #body == 0 then return "reject", "empty" end
    end
  ]],
}

-- Messages.

local function order_of(bytes)
  local item = '{"goods":"carrot","quantity":3,"price":2599},'
  local frame = '{"id":%d,"customer":"customer-17","total":12345,"items":[]}'
  local items = item:rep(math.floor((bytes - #frame) / #item)):sub(1, -2)
  return (frame:gsub("%[%]", "[" .. items .. "]"))
end

-- Bytes of all kinds but "%", since "%d" is the message's number: no two bodies are the same.
local function noise(bytes)
  local random, list = 1, {}
  for i = 1, bytes - 5 do
    random = (random * 16807) % 2147483647
    local byte = random % 256
    list[i] = string.char(byte ~= 37 and byte or 0)
  end
  return "%d" .. table.concat(list)
end

-- `messages` for those that are quick, `fewer` for those that take ten times as long.
local SIZES = {
  { name = "250 B JSON", kind = "json", body = function(bench) return bench.ORDER end,
    messages = 60000, fewer = 20000 },
  { name = "4 KiB JSON", kind = "json", body = function() return order_of(4096) end,
    messages = 16000, fewer = 8000 },
  { name = "64 KiB binary", kind = "raw", body = function() return noise(65536) end,
    messages = 6000, fewer = 3000 },
}

-- Consumers. `words` start one, what follows them is where and how much; `has` tells its version.

local OURS, PLAIN, LUA = "moonrabbit", "C", "C + LuaJIT + cjson"
local PHP, PIKA, NODE = "php-amqplib", "pika", "amqplib for Node"
local OURS_TWO = "moonrabbit, 2 workers"
local C = "build/release/bench/peers"

local ALL = {
  { name = OURS, flags = { workers = 1, ["recycle-messages"] = NEVER } },
  { name = "moonrabbit, recycled every 1,000", flags = { workers = 1, ["recycle-messages"] = 1000 } },
  { name = OURS_TWO, flags = { workers = 2, ["recycle-messages"] = NEVER } },
  { name = "moonrabbit, 2 workers, every 1,000", flags = { workers = 2, ["recycle-messages"] = 1000 } },
  { name = PLAIN, words = { C }, ack_every = "1" },
  { name = "C, ack every 64", words = { C }, ack_every = "64" },
  { name = LUA, words = { C }, ack_every = "1", runs_handler = true },
  { name = NODE, words = { "env", "NODE_PATH=build/peers/node_modules", "node", FOLDER .. "/consumer.js" },
    has = { "env", "NODE_PATH=build/peers/node_modules", "node", "-p",
      "require('amqplib') && require('./build/peers/node_modules/amqplib/package.json').version + " ..
      "' on Node ' + process.versions.node" } },
  { name = PIKA, slow = true, words = { "/usr/bin/python3", FOLDER .. "/consumer.py" },
    has = { "/usr/bin/python3", "-c",
      "import pika, platform; print(pika.__version__ + ' on Python ' + platform.python_version())" } },
  { name = PHP, slow = true, words = { "php", FOLDER .. "/consumer.php" },
    has = { "php", "-r", "require 'PhpAmqpLib/autoload.php'; " ..
      "echo PhpAmqpLib\\Package::VERSION, ' on PHP ', PHP_VERSION;" } },
}

-- Those that this machine has, by name and in order; and the versions of what they stand on.
local function find_peers()
  local names, by_name, versions = {}, {}, {}
  for _, peer in ipairs(ALL) do
    local told = peer.has and process.run(peer.has)
    if told and told.code ~= 0 then
      local words = told.err .. told.out
      print(("    %s is left out, since it does not run here: %s"):format(peer.name,
        words:match("[^\n]*[Ee]rror:[^\n]+") or words:match("[^\n]+") or "no reason told"))
    else
      names[#names + 1], by_name[peer.name] = peer.name, peer
      versions[peer.name] = told and told.out:match("[^\n]+")
    end
  end
  return names, by_name, versions
end

local function arguments_of(bench, peer, size, queue, messages)
  local user, password, host, port = bench.rabbit().url:match("^amqp://([^:]+):([^@]+)@([^:]+):(%d+)/")
  local words = { unpack(peer.words) }
  for _, word in ipairs { host, port, user, password, queue, ("%d"):format(messages), size.kind } do
    words[#words + 1] = word
  end
  words[#words + 1] = peer.ack_every
  words[#words + 1] = peer.runs_handler and HANDLERS[size.kind]
  return words
end

-- Runs.

local function content_type(size)
  return size.kind == "json" and "application/json" or "application/octet-stream"
end

-- Called over and over while it runs, to tell the most memory that it had so far: of its processes together,
-- what they share counted in each.
local function memory_watcher()
  local pids, peaks = nil, {}
  return function(program)
    pids = pids or { program.pid, unpack(program:children()) }
    local sum = 0
    for _, pid in ipairs(pids) do
      peaks[pid] = process.peak_rss(pid) or peaks[pid] or 0
      sum = sum + peaks[pid]
    end
    return sum
  end
end

local function run_ours(bench, peer, size, messages)
  local watch, peak = memory_watcher(), 0
  local run = bench.consume { handler = HANDLERS[size.kind], messages = messages, body = size.text,
    content_type = content_type(size), flags = peer.flags,
    watch = function(program) peak = watch(program) end }
  return { seconds = messages / run.rate, cpu_seconds = run.cpu_us * messages / 1e6, peak = peak }
end

local function run_peer(bench, peer, size, messages)
  local watch, peak = memory_watcher(), 0
  local queue = bench.fill { messages = messages, body = size.text, content_type = content_type(size) }
  local program = process.start(arguments_of(bench, peer, size, queue, messages))
  bench.wait(program, function() peak = watch(program) end)
  bench.clean_up()
  return { seconds = cjson.decode(program:stdout()).seconds, cpu_seconds = program.usage.cpu_seconds,
    peak = peak }
end

local function run_once(bench, peer, size, messages)
  return (peer.flags and run_ours or run_peer)(bench, peer, size, messages)
end

-- Processor seconds that starting and stopping takes, by name.
local function starts(bench, names, peers)
  local results = bench.interleave(names, function(name)
    return { cpu = run_once(bench, peers[name], SIZES[1], 1).cpu_seconds }
  end, STARTS)
  for name, figures in pairs(results) do results[name] = bench.quantile(figures.cpu, 0.5) end
  return results
end

local function measure(bench, size, names, peers, started)
  return bench.interleave(names, function(name)
    local messages = peers[name].slow and size.fewer or size.messages
    local run = run_once(bench, peers[name], size, messages)
    return { rate = messages / run.seconds, peak_mib = run.peak / 1024 / 1024,
      cpu_us = math.max(run.cpu_seconds - started[name], 0) / messages * 1e6 }
  end)
end

-- Telling.

local function tell(bench, size, names, results)
  local rows, ratios = {}, {}
  for i, name in ipairs(names) do
    local it = results[name]
    it.rate_over_c = bench.ratios(it.rate, results[PLAIN].rate)
    it.cpu_over_c = bench.ratios(it.cpu_us, results[PLAIN].cpu_us)
    it.cpu_over_lua = bench.ratios(it.cpu_us, results[LUA].cpu_us)
    rows[i] = { name, it.rate, it.cpu_us, it.peak_mib }
    ratios[i] = { name, it.rate_over_c, it.cpu_over_c, it.cpu_over_lua }
  end
  bench.table({ size.name .. ", prefetch 256", "messages/s", "CPU µs a message", "peak MiB" }, rows)
  bench.table({ size.name .. ", in the same round", "messages/s over C's", "CPU over C's",
    "CPU over " .. LUA }, ratios)
end

local function claim_at_most(bench, results, most, other, what)
  if not results[other] then return end
  local ratios = bench.ratios(results[OURS].cpu_us, results[other].cpu_us)
  bench.claim(("%s: at most %.3g times the processor time of %s"):format(what, most, other),
    bench.quantile(ratios, 0.5) <= most, ratios)
end

local function claim(bench, by_size)
  local small, large = by_size["250 B JSON"], by_size["64 KiB binary"]
  claim_at_most(bench, small, 1.0, LUA, "250 B JSON")
  claim_at_most(bench, small, 0.5, NODE, "250 B JSON")
  claim_at_most(bench, small, 0.15, PIKA, "250 B JSON")
  claim_at_most(bench, small, 0.13, PHP, "250 B JSON")
  bench.claim("250 B JSON: as many messages a second as C, which acks each",
    bench.quantile(small[OURS].rate_over_c, 0.5) >= 1, small[OURS].rate_over_c)
  claim_at_most(bench, large, 1.5, PLAIN, "64 KiB")
end

local function run(bench)
  assert(stat.stat(C), C .. " is not there: make bench-programs")
  local names, peers, versions = find_peers()
  local by_size = {}
  for _, size in ipairs(SIZES) do size.text = size.body(bench) end
  local started = starts(bench, names, peers)
  for _, size in ipairs(SIZES) do
    by_size[size.name] = measure(bench, size, names, peers, started)
    tell(bench, size, names, by_size[size.name])
  end
  claim(bench, by_size)
  return { names = names, versions = versions, start_cpu_seconds = started, sizes = by_size }
end

return {
  about = "beside consumers in C, JavaScript, Python and PHP, on one broker with the same messages",
  run = run,
}
