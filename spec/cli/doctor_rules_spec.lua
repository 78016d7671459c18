-- Each rule of the doctor: that it finds what it is for, with its figures, and nothing just before its bound.
-- No broker is needed, and no program: the rules are pure.
local doctor = require "support.doctor"

local MIB = doctor.MIB
local rules = doctor.script "doctor_rules"

-- What spoils healthy facts, by rule: { severity, what to do to them, object, a part of `what`, of `line` }.
-- Those of `quiet` stay just within the bound.
local function consumer(facts) return facts.config.consumers[1] end
local function queue(facts) return facts.queues[1] end
local function dead(facts) return facts.queues[2] end
local function connection(facts) return facts.management.connections[1] end
local function channel(facts) return facts.management.channels[1] end
local function client(facts) return facts.management.consumers[1] end
local function node(facts) return facts.management.nodes[1] end
local function process(facts) return facts.system.processes[1] end
local function machine(facts) return facts.system.machine end

local function set(part, name, value)
  return function(facts) part(facts)[name] = value end
end

local function all(...)
  local steps = { ... }
  return function(facts)
    for _, step in ipairs(steps) do step(facts) end
  end
end

local function amqp_only(facts)
  facts.management = nil
  facts.queues = { { name = "orders", messages = 10, consumers = 1 } }
end

local function connections(count)
  return function(facts)
    for i = 2, count do
      facts.management.connections[i] = { name = "c" .. i, user = "shop", client = "10.0.0.1", channels = 0,
        heartbeat = 60 }
    end
  end
end

local function category(name)
  return {
    { "warning", all(set(node, "memory", { [name] = 400 * MIB })), "node rabbit@box", "400MiB, 40 %% of" },
    quiet = { set(node, "memory", { [name] = 400 * MIB - 1 }),
      all(set(node, "memory", { [name] = 64 * MIB - 1 }), set(node, "mem_limit", 100 * MIB)) },
  }
end

local function bound(used, total)
  return {
    { "warning", all(set(node, used, 80), set(node, total, 100)), "node rabbit@box", "80 .* of 100" },
    { "critical", all(set(node, used, 95), set(node, total, 100)), "node rabbit@box", "95 .* of 100" },
    quiet = { all(set(node, used, 79), set(node, total, 100)), set(node, total, nil), set(node, used, nil) },
  }
end

local CASES = {
  ["handler-fails"] = {
    { "critical", function(facts) facts.handlers.error = "handler.lua:3: oops" end, "the handlers", "oops",
      "moonrabbit check" },
    quiet = { function(facts) facts.handlers = {} end },
  },
  ["memory-thresholds"] = {
    { "info", all(set(consumer, "workers", 6)), "memory.warning", "6 workers may hold 288MiB", '"320MiB"' },
    { "warning", all(set(consumer, "workers", 11)), "memory.critical", "11 workers may hold 528MiB" },
    quiet = { set(consumer, "workers", 5) },
  },
  ["recycle-near-limit"] = {
    { "warning", set(consumer, "recycle_memory", 58 * MIB), "consumer orders",
      "58MiB, and limits.memory 64MiB", 'recycle = { memory = "48MiB" }' },
    quiet = { set(consumer, "recycle_memory", 57 * MIB) },
  },
  ["messages-in-host"] = {
    { "info", set(consumer, "prefetch", 33), "consumer orders", "prefetch 33 .* is 528MiB" },
    quiet = { set(consumer, "prefetch", 32) },
  },
  ["heartbeat-off"] = {
    { "warning", function(facts) facts.config.heartbeat = 0 end, "broker.heartbeat", "off" },
    quiet = { function(facts) facts.config.heartbeat = 1 end },
  },
  ["no-heartbeat"] = {
    { "warning", all(set(connection, "heartbeat", 0), set(connection, "called", "billing")),
      "connection billing %(10.0.0.1:4000 %-> 10.0.0.9:5672%)", "user shop has no heartbeat" },
    quiet = { set(connection, "heartbeat", 1), set(connection, "heartbeat", nil),
      all(set(connection, "heartbeat", 0), set(connection, "protocol", "MQTT 3-1-1")) },
  },
  ["many-connections"] = {
    { "warning", connections(30), "client shop at 10.0.0.1", "30 connections, 29 of them without a channel" },
    { "critical", connections(300), "client shop at 10.0.0.1", "300 connections" },
    quiet = { connections(29) },
  },
  ["many-channels"] = {
    { "warning", all(set(connection, "channels", 100), set(connection, "channel_max", 2047)), "connection ",
      "100 channels of at most 2,047" },
    { "warning", all(set(connection, "channels", 5000), set(connection, "channel_max", 0)), "connection ",
      "^5,000 channels$" },
    { "critical", all(set(connection, "channels", 160), set(connection, "channel_max", 200)), "connection ",
      "160 channels" },
    quiet = { all(set(connection, "channels", 99), set(connection, "channel_max", 100)) },
  },
  churn = {
    { "warning", function(facts) facts.management.connections_created = 5 end, "the broker",
      "connections are opened: 5.0 a second" },
    { "warning", function(facts) facts.management.channels_created = 20 end, "the broker",
      "channels are opened: 20 a second" },
    quiet = { function(facts)
      facts.management.connections_created, facts.management.channels_created = 4.9, 19.9
    end },
  },
  ["no-prefetch"] = {
    { "critical", set(client, "prefetch", 0), "consumer vm%-1%-orders of queue orders", "10.0.0.1:4000" },
    quiet = { set(client, "prefetch", 1), set(client, "prefetch", nil),
      all(set(client, "prefetch", 0), set(channel, "global_prefetch", 100)),
      all(set(client, "prefetch", 0), set(client, "acks", false)) },
  },
  ["auto-ack"] = {
    { "warning", set(client, "acks", false), "consumer vm%-1%-orders of queue orders", "without acking" },
    quiet = { set(client, "acks", nil) },
  },
  ["prefetch-high"] = {
    { "warning", set(consumer, "prefetch", 1001), "consumer orders", "1,001", "prefetch = 100" },
    { "warning", set(client, "prefetch", 1001), "consumer vm%-1%-orders of queue orders", "1,001" },
    quiet = { all(set(consumer, "prefetch", 1000), set(client, "prefetch", 1000)) },
  },
  ["unacked-high"] = {
    { "warning", set(queue, "unacked", 10001), "queue orders", "10,001 messages unacked" },
    { "critical", set(queue, "unacked", 100001), "queue orders", "100,001 messages" },
    quiet = { set(queue, "unacked", 10000), set(queue, "unacked", nil) },
  },
  ["unacked-near-prefetch"] = {
    { "info", set(channel, "unacked", 9), "channel 10.0.0.1", "9 unacked of 10 .* acks come: 100 a second" },
    { "info", all(set(channel, "unacked", 9), set(channel, "acks", nil), set(channel, "idle", 59)),
      "channel 10.0.0.1", "no acks come" },
    { "info", all(set(channel, "unacked", 9), set(channel, "idle", 60)), "channel 10.0.0.1", "acks come" },
    { "warning", all(set(channel, "unacked", 90), set(channel, "global_prefetch", 100),
      set(channel, "prefetch", 0), set(channel, "acks", 0), set(channel, "idle", 60)), "channel 10.0.0.1",
      "90 unacked of 100 .* nothing moves for 60s" },
    quiet = { set(channel, "unacked", 8), all(set(channel, "unacked", 1000), set(channel, "prefetch", 0)),
      all(set(channel, "unacked", 17), set(channel, "consumers", 2)),
      all(set(channel, "unacked", 10), set(channel, "consumers", 0)) },
  },
  ["consumer-timeout"] = {
    { "critical", set(queue, "consumer_timeout", 31000), "consumer orders",
      "may take 31s .* orders waits 31s",
      'deadline = "15s"' },
    { "critical", set(consumer, "deadline", 1799), "consumer orders", "waits 1800s" },
    quiet = { set(queue, "consumer_timeout", 31001), set(consumer, "deadline", 1798) },
  },
  ["prefetch-outlasts-timeout"] = {
    { "info", set(queue, "consumer_timeout", 155000), "consumer orders", "on 2 workers .* may take 155s",
      "prefetch = 8" },
    quiet = { set(queue, "consumer_timeout", 155001), set(queue, "consumer_timeout", 31000) },
  },
  ["queue-missing"] = {
    { "critical", all(set(consumer, "declared", false), function(facts)
      facts.amqp.queues.orders = false
    end), "queue orders", "consumer orders", "declare = " },
    quiet = { function(facts) facts.amqp.queues.orders = false end,
      function(facts) facts.amqp.queues["orders.dead"] = false end },
  },
  ["no-bound"] = {
    { "warning", set(queue, "max_length", nil), "queue orders", "no max%-length",
      [[rabbitmqctl set_policy --apply-to queues 'bound orders' '^orders$' '{"max-length":100000}']], true },
    { "warning", all(set(queue, "max_length", nil), set(queue, "name", "it's $(mine)")), "queue it's",
      "no max%-length", [['bound it'\''s $(mine)' '^it'\''s \$\(mine\)$' ]], true },
    { "info", all(set(queue, "max_length", nil), set(queue, "exclusive", true)), "queue orders", "no max" },
    { "warning", all(set(queue, "max_length", nil), set(queue, "type", "stream")), "queue orders",
      "max%-age" },
    { "warning", all(amqp_only, set(consumer, "max_length", nil)), "queue orders",
      "declared without any bound" },
    quiet = { all(set(queue, "max_length", nil), set(queue, "max_bytes", 1000)),
      all(set(queue, "max_length", nil), set(queue, "ttl", 1000)), amqp_only,
      all(amqp_only, set(consumer, "max_length", nil), set(consumer, "declared", false)),
      set(dead, "max_length", nil) },
  },
  ["near-bound"] = {
    { "warning", set(queue, "messages", 80000), "queue orders", "80,000 messages of at most 100,000" },
    { "critical", set(queue, "messages", 95000), "queue orders", "95,000 messages" },
    { "warning", all(set(queue, "bytes", 80), set(queue, "max_bytes", 100)), "queue orders",
      "80 of messages, of at most 100" },
    { "warning", all(amqp_only, function(facts) facts.queues[1].messages = 80000 end), "queue orders",
      "80,000" },
    quiet = { set(queue, "messages", 79999), set(dead, "messages", 99999) },
  },
  ["no-consumers"] = {
    { "warning", set(queue, "consumers", 0), "queue orders", "^10 messages, no consumer$",
      "moonrabbit run %-c moonrabbit.lua" },
    { "critical", all(set(queue, "consumers", 0), set(queue, "growth", 12)), "queue orders",
      "grows by 12 a second" },
    { "warning", function(facts)
      facts.queues[3] = { name = "old; rm", messages = 1, consumers = 0 }
      facts.config.vhost = "shop"
    end, "queue old; rm", "^1 message, no consumer$",
      "rabbitmqctl %-p shop delete_queue %-%-if%-unused 'old; rm'" },
    quiet = { all(set(queue, "consumers", 0), set(queue, "messages", 0)),
      all(set(queue, "consumers", 0), set(queue, "ttl", 1000)), set(dead, "messages", 10),
      all(set(queue, "consumers", 0), set(queue, "type", "stream")), set(queue, "consumers", nil) },
  },
  ["dead-letters"] = {
    { "info", set(dead, "messages", 1), "queue orders.dead", "^1 dead letter$",
      "moonrabbit dead list orders.dead" },
    { "warning", set(dead, "messages", 1000), "queue orders.dead", "1,000 dead letters" },
    { "warning", all(set(dead, "messages", 100), set(dead, "growth", 0.5)), "queue orders.dead",
      "grows by 0.5 a second" },
    { "critical", set(dead, "messages", 80000), "queue orders.dead",
      "80,000 dead letters of at most 100,000" },
    { "info", all(set(queue, "dead_letter_exchange", ""), set(queue, "dead_letter_key", "buried"),
      function(facts) facts.queues[3] = { name = "buried", messages = 999, consumers = 0, growth = 0 } end),
      "queue buried", "999 dead letters" },
    quiet = { all(set(dead, "messages", 10), set(dead, "consumers", 1)) },
  },
  ["dead-letters-no-bound"] = {
    { "warning", set(dead, "max_length", nil), "queue orders.dead", "no max%-length" },
    quiet = { set(dead, "detailed", nil), all(set(dead, "max_length", nil), set(dead, "ttl", 1000)) },
  },
  ["dead-letter-target"] = {
    { "critical", all(set(queue, "dead_letter_exchange", ""), set(queue, "dead_letter_key", "gone")),
      "queue orders", "go to queue gone" },
    { "critical", all(set(queue, "dead_letter_exchange", "gone"), function(facts)
      facts.management.exchanges = { there = true }
    end), "queue orders", "go to exchange gone" },
    quiet = { all(set(queue, "dead_letter_exchange", ""), set(queue, "dead_letter_key", "orders.dead")),
      all(set(queue, "dead_letter_exchange", "there"), function(facts)
        facts.management.exchanges = { there = true }
      end), set(queue, "dead_letter_exchange", "unknown") },
  },
  ["no-dead-letter"] = {
    { "info", set(consumer, "dead_letter", nil), "consumer orders", "and its queue has no", '"orders.dead"' },
    { "info", all(amqp_only, set(consumer, "dead_letter", nil)), "consumer orders", "is set$" },
    quiet = { all(set(consumer, "dead_letter", nil), set(queue, "dead_letter_exchange", "x")),
      all(set(consumer, "dead_letter", nil), set(consumer, "dead_letter_exchange", "x")) },
  },
  ["node-down"] = {
    { "critical", set(node, "running", false), "node rabbit@box", "does not run" },
    quiet = { set(node, "running", nil) },
  },
  ["memory-alarm"] = {
    { "warning", set(node, "mem_used", 800 * MIB), "node rabbit@box",
      "near: 800MiB in use, the limit is 1000MiB" },
    { "critical", set(node, "mem_alarm", true), "node rabbit@box", "on: 200MiB" },
    { "critical", all(set(node, "mem_alarm", true), set(node, "mem_used", nil)), "node rabbit@box",
      "is on$" },
    quiet = { set(node, "mem_used", 800 * MIB - 1), set(node, "mem_limit", nil) },
  },
  ["disk-alarm"] = {
    { "warning", set(node, "disk_free", 100 * MIB - 1), "node rabbit@box", "near: " },
    { "critical", set(node, "disk_free_alarm", true), "node rabbit@box", "on: 10000MiB are free" },
    quiet = { set(node, "disk_free", 100 * MIB), set(node, "disk_free", nil) },
  },
  ["memory-binaries"] = category "binaries",
  ["memory-mnesia"] = category "mnesia",
  ["memory-queues"] = category "queues",
  ["memory-connections"] = category "connections",
  ["memory-unused"] = category "unused",
  ["broker-descriptors"] = bound("fd_used", "fd_total"),
  ["broker-sockets"] = bound("sockets_used", "sockets_total"),
  ["broker-processes"] = bound("proc_used", "proc_total"),
  ["program-memory"] = {
    { "warning", set(process, "bytes", 246 * MIB), "moonrabbit process 100", "1 worker hold 256MiB" },
    { "critical", set(process, "bytes", 502 * MIB), "moonrabbit process 100", "memory.critical .* 512MiB" },
    quiet = { set(process, "bytes", 246 * MIB - 1), set(process, "bytes", nil) },
  },
  ["program-descriptors"] = {
    { "warning", set(process, "descriptors", 820), "moonrabbit process 100",
      "820 open descriptors of 1,024" },
    { "critical", set(process, "descriptors", 973), "moonrabbit process 100", "973" },
    quiet = { set(process, "descriptors", 819), set(process, "descriptors", nil) },
  },
  ["program-sockets"] = {
    { "warning", set(process, "sockets", 85), "moonrabbit process 100", "85 sockets for 1 worker" },
    quiet = { set(process, "sockets", 84) },
  },
  ["machine-memory"] = {
    { "warning", set(machine, "memory_free", 799 * MIB), "this machine", "799MiB of 8000MiB" },
    quiet = { set(machine, "memory_free", 800 * MIB), set(machine, "memory_free", nil) },
  },
  ["memory-bounds"] = {
    { "warning", set(machine, "memory_total", 543 * MIB), "memory.critical", "544MiB, and .* has 543MiB" },
    quiet = { set(machine, "memory_total", 544 * MIB), set(machine, "memory_total", nil) },
  },
  ["machine-sockets"] = {
    { "warning", set(machine, "sockets", 22400), "this machine", "22,400 TCP sockets, and 28,000 ports" },
    quiet = { set(machine, "sockets", 22399), set(machine, "ports", nil), set(machine, "sockets", nil) },
  },
  ["machine-descriptors"] = {
    { "warning", set(machine, "descriptors", 80000), "this machine", "80,000 open files of 100,000" },
    { "critical", set(machine, "descriptors", 95000), "this machine", "95,000" },
    quiet = { set(machine, "descriptors", 79999), set(machine, "descriptors_max", nil) },
  },
}

local function spoiled(spoil)
  local facts = doctor.healthy()
  spoil(facts)
  return facts
end

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then return true end
  end
  return false
end

describe("the doctor's rules", function()
  local layers = { application = true, connection = true, consumer = true, queue = true, server = true,
    system = true }

  it("find nothing where all is well", function()
    for _, rule in ipairs(rules) do assert.same({}, doctor.findings(rule, doctor.healthy()), rule.name) end
  end)

  it("find nothing where nothing could be looked at", function()
    local blank = { config = { vhost = "/", heartbeat = 60, memory_warning = 1, memory_critical = 2,
      cache_memory = 1, consumers = {} }, handlers = {}, queues = {}, system = { machine = {},
        processes = {} } }
    for _, rule in ipairs(rules) do assert.same({}, doctor.findings(rule, blank), rule.name) end
  end)

  for _, rule in ipairs(rules) do
    local case = CASES[rule.name] or { quiet = {} }

    it(rule.name .. " finds what it is for", function()
      local given = {}
      assert.is_true(layers[rule.layer])
      for i, one in ipairs(case) do
        local severity, spoil, object, what, line, plain = unpack(one, 1, 6)
        local findings = doctor.findings(rule, spoiled(spoil))
        assert.equal(1, #findings, "case " .. i)
        local found = findings[1]
        given[found.severity or rule.severities[1]] = true
        assert.equal(severity, found.severity or rule.severities[1], "case " .. i)
        assert.is_true(has(rule.severities, severity))
        assert.matches(object, found.object)
        assert.matches(what, found.what)
        assert.is_truthy(found.line:find(line or "", 1, plain), found.line)
      end
      for _, severity in ipairs(rule.severities) do
        assert.is_true(given[severity], "no case has the severity " .. severity)
      end
    end)

    it(rule.name .. " finds nothing within its bounds", function()
      assert.is_true(#case.quiet > 0)
      for i, spoil in ipairs(case.quiet) do
        assert.same({}, doctor.findings(rule, spoiled(spoil)), "case " .. i)
      end
    end)
  end

  it("are all tried here", function()
    local names, count = {}, 0
    for _, rule in ipairs(rules) do
      assert.is_nil(names[rule.name], rule.name .. " is there twice")
      names[rule.name] = true
    end
    for name in pairs(CASES) do
      assert.is_true(names[name], "there is no rule " .. name)
      count = count + 1
    end
    assert.equal(#rules, count)
  end)
end)
