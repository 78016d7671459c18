-- `moonrabbit capture` on real queues and exchanges: what is captured comes to the same verdicts in a replay
-- as behind the broker, and whatever ends the capture, every message stays in its queue, in its place.
local amqp = require "amqp"
local cjson = require "cjson.safe"
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local cleanup = require "support.cleanup"

local PATIENCE_SECONDS = 120
local IS_ASAN = moonrabbit.path:find("asan", 1, true) ~= nil

local ALL_BYTES = (("x"):rep(256):gsub(".", (function()
  local i = -1
  return function() i = i + 1 return string.char(i) end
end)()))

-- Says all that it sees of a message but what the capture itself changes, and ends it by its header `kind`.
local HANDLER = [[
  local log, describe = require "log", require "describe"
  return function(data, message)
    local headers = {}
    for name, value in pairs(message.headers) do
      if name ~= "x-delivery-count" then headers[name] = value end
    end
    local seen = { data = #message.body < 1000 and data or nil, headers = headers }
    for _, name in ipairs { "id", "exchange", "routing_key", "content_type", "content_encoding",
      "correlation_id", "reply_to", "timestamp", "priority", "delivery_mode", "type", "app_id", "user_id",
      "expiration" } do
      seen[name] = message[name]
    end
    local body, sum = message.body, 0
    for i = 1, #body do sum = (sum * 31 + body:byte(i)) % 2 ^ 32 end
    local text = describe(seen)
    log.info("seen", { id = message.id, bytes = #body, sum = sum, seen = text:sub(1, 3000) })
    if headers.kind == "raise" then error("no luck") end
    return headers.kind == "reject" and "reject" or true
  end
]]

-- One value of every kind that AMQP has.
local EVERY_KIND = {
  t = true, f = amqp.field("f", 0.1), d = amqp.field("d", 1e300), D = amqp.field("D", { 2, 314 }),
  b = amqp.field("b", -128), B = amqp.field("B", 255), s = amqp.field("s", -32768),
  u = amqp.field("u", 65535), I = amqp.field("I", -2147483648), i = amqp.field("i", 4294967295),
  l = amqp.field("l", "-9223372036854775808"), L = amqp.field("L", "18446744073709551615"),
  T = amqp.field("T", 1767225600), S = "m\195\182hre \"\\\n\t\27", V = amqp.null,
  F = { deep = { er = { 1, "two", amqp.null } } }, A = amqp.field("A", { 1, { x = 2.5 }, "three" }),
  ["a name with \"quotes\""] = 1, [""] = "empty",
}

local MESSAGES = {
  { '{"id": 1, "big": 12345678901234567890, "b":1.10,\n\t"a":"\\u00e9"}',
    { content_type = "application/json" } },
  { '{"id":2}', { content_type = "application/json", headers = { kind = "reject" } } },
  { "{", { content_type = "application/json" } },
  { "", {} },
  { "m\195\182hre \240\159\144\135\r\n\"\\/", { headers = { kind = "raise" } } },
  { ALL_BYTES, {} },
  { ("\0\255"):rep(150001), { headers = EVERY_KIND } },
  { ("x\195\182"):rep(100000), { headers = { bytes = amqp.field("x", "\0\255"), kind = "reject" } } },
  { "zero", { headers = { minus = amqp.field("d", -0.0) } } },
  { "properties", { content_encoding = "none", correlation_id = "\1\255\254", reply_to = "client",
    type = "order", timestamp = 1767225600123456, priority = 7, app_id = "shop \27", user_id = "guest",
    delivery_mode = 2 } },
}

local function ids_of(messages)
  local ids = {}
  for i, message in ipairs(messages) do ids[i] = message.properties.message_id end
  return table.concat(ids, " ")
end

local function ids_from(first, last)
  local ids = {}
  for id = first, last do ids[#ids + 1] = tostring(id) end
  return table.concat(ids, " ")
end

local function fill(queue)
  local connection = assert(rabbit.connect())
  assert(connection:confirm_select())
  for i, message in ipairs(MESSAGES) do
    message[2].message_id = tostring(i)
    assert(connection:publish("", queue, message[1], message[2]))
  end
  return connection
end

-- All of them are there again, which happens a moment after the end.
local function wait_for(queue, count)
  assert(rabbit.eventually(function()
    local there = rabbit.queue_info(queue).messages
    return there == count, there .. " messages are there"
  end))
end

local function run(space, ...)
  local arguments = { "capture", "--broker=" .. rabbit.url, ... }
  arguments[#arguments + 1] = { cwd = space.path, timeout = PATIENCE_SECONDS }
  return moonrabbit.run(unpack(arguments))
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = assert(cjson.decode(line)) end
  return lines
end

-- What the handler saw, by message id.
local function seen_in(logs)
  local seen = {}
  for _, line in ipairs(scene.find_all(logs, "seen")) do
    assert.is_nil(seen[line.id])
    seen[line.id] = { line.bytes, line.sum, line.seen }
  end
  return seen
end

describe("moonrabbit capture", function()
  local space

  before_each(function() space = workspace.new() end)

  after_each(cleanup)

  for _, type in ipairs { "classic", "quorum" } do
    it("writes what comes to the same in a replay, and leaves a " .. type .. " queue as it was", function()
      local dead = rabbit.queue "dead-of-it"
      local one = scene.new(HANDLER, { queue = { arguments = { ["x-queue-type"] = type,
        ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = dead } } })
      fill(one.queue)
      wait_for(one.queue, #MESSAGES)
      local result = run(one.space, "--queue", one.queue, "--max", "1000", "-o", "messages.ndjson")
      assert.same({ 0, "" }, { result.code, result.err })
      assert.matches("^captured 10 of the 10 messages in scene%-%x+ %([%d.]+KiB%)\n$", result.out)
      for i, line in ipairs(lines_of(one.space:read "messages.ndjson")) do
        assert.same({ tostring(i), false, 1, "", one.queue },
          { line.id, line.redelivered, line.attempt, line.exchange, line.routing_key })
      end
      wait_for(one.queue, #MESSAGES)
      result = moonrabbit.run("replay", "handler.lua", "messages.ndjson", "--json", "--retry-attempts=1",
        "--log-level=info", { cwd = one.space.path, timeout = PATIENCE_SECONDS })
      local report = cjson.decode(result.out)
      assert.same({ ack = 6, reject = 2, error = 2, retry = 0, requeue = 0 }, report.verdicts)
      assert.same({ 0, {} }, { report.skipped, report.skipped_lines })
      local replayed = seen_in(result.logs)
      local behind_broker = one:settle(#MESSAGES, "--retry-attempts=1")
      assert.same(seen_in(behind_broker.logs), replayed)
      local stopped = scene.find(behind_broker.logs, "consumer stopped")
      assert.same({ 6, 4 }, { stopped.acked, stopped.rejected })
    end)
  end

  for _, type in ipairs { "classic", "quorum" } do
    it("keeps the order of a " .. type .. " queue, and takes no more than it is told", function()
      local queue = rabbit.queue("ordered", { arguments = { ["x-queue-type"] = type } })
      consumer.fill(queue, 300)
      wait_for(queue, 300)
      for _ = 1, 2 do
        local result = run(space, "--queue", queue, "--max=200", "--json", "-o", "some.ndjson")
        assert.same({ 0, "" }, { result.code, result.err })
        assert.same({ queue = queue, messages = 200, bytes = 1892, depth = 300, stopped = false },
          cjson.decode(result.out))
        local ids = {}
        for i, line in ipairs(lines_of(space:read "some.ndjson")) do ids[i] = line.id end
        assert.equal(ids_from(1, 200), table.concat(ids, " "))
        wait_for(queue, 300)
      end
      local messages = assert(assert(rabbit.connect()):drain(queue))
      assert.equal(ids_from(1, 300), ids_of(messages))
      assert.same({ true, false }, { messages[1].redelivered, messages[300].redelivered })
    end)
  end

  it("writes to standard output, and says on the other what it did", function()
    local queue = rabbit.queue "captured"
    consumer.fill(queue, 2)
    for option, summary in pairs {
      ["--json"] = '^{"queue":"[^"]+","messages":2,"bytes":16,"depth":2,"stopped":false}\n$',
      ["-o-"] = "^captured 2 of the 2 messages in [^\n]+ %(16B%)\n$",
    } do
      local result = run(space, "--queue", queue, "--max=5", option)
      assert.same({ "1", "2" }, { lines_of(result.out)[1].id, lines_of(result.out)[2].id })
      assert.matches(summary, result.err)
      wait_for(queue, 2)
    end
    assert(assert(rabbit.connect()):drain(queue))
    local result = run(space, "--queue", queue, "--max=5", "-o", "none.ndjson")
    assert.same({ 0, "", "" }, { result.code, result.err, space:read "none.ndjson" })
    assert.matches("^captured 0 of the 0 messages in ", result.out)
  end)

  it("gives a message that came back from a delay queue as its publisher wrote it", function()
    local one = scene.new [[return function() return "retry", "100ms" end]]
    local exchange = one.queue .. "-exchange"
    assert(one.connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    assert(one.connection:bind(one.queue, exchange, "order.*"))
    assert(one.connection:publish(exchange, "order.new", "again",
      { message_id = "m-1", headers = { a = 1 } }))
    one:settle(1)
    wait_for(one.queue, 1)
    local line = lines_of(run(one.space, "--queue", one.queue, "--max=1").out)[1]
    assert.same({ id = "m-1", exchange = exchange, routing_key = "order.new", headers = { a = 1 },
      attempt = 2, redelivered = false, body = "again", delivery_mode = line.delivery_mode }, line)
  end)

  it("taps an exchange, by a queue that is bounded and gone with it", function()
    local exchange = rabbit.name "tapped"
    local connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    assert(connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    local program = moonrabbit.start("capture", "--tap", exchange, "--routing-key=order.#", "--max=3",
      "--broker=" .. rabbit.url)
    local function publish(key)
      return connection:publish(exchange, key, key, { message_id = key })
    end
    local function tap_queue()
      local rows = assert(rabbit.ctl("list_queues", "--quiet", "--no-table-headers", "name", "arguments",
        "exclusive", "auto_delete", "consumers"))
      return rows:match("amq%.gen[^\n]*1\n")
    end
    local row
    assert(rabbit.eventually(function() row = tap_queue() return row end))
    assert.matches('"x%-max%-length",10000', row)
    assert.matches('"x%-max%-length%-bytes",67108864', row)
    assert.matches("\ttrue\ttrue\t1\n$", row)
    for _, key in ipairs { "order.1", "other", "order.2.x" } do publish(key) end
    assert(program:wait_for("order%.2%.x", PATIENCE_SECONDS)) -- before it has all
    for _, key in ipairs { "order.3", "order.4" } do publish(key) end
    assert.equal(0, program:wait(PATIENCE_SECONDS))
    local lines = lines_of(program:stdout())
    assert.same({ "order.1", "order.2.x", "order.3" }, { lines[1].id, lines[2].id, lines[3].id })
    assert.same({ 3, exchange, "order.1", "order.1", 1, false }, { #lines, lines[1].exchange,
      lines[1].routing_key, lines[1].body, lines[1].attempt, lines[1].redelivered })
    assert.equal(("captured 3 messages of %s (23B)\n"):format(exchange), program:stderr())
    assert(rabbit.eventually(function() return not tap_queue() end))
  end)

  it("is stopped by a signal in order, with what it has so far", function()
    local program = moonrabbit.start("capture", "--tap=amq.fanout", "--max=100000", "--json", "-o",
      "tapped.ndjson", "--broker=" .. rabbit.url, { cwd = space.path })
    local connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    local function written()
      for _, name in ipairs(space:names()) do
        if (space:read(name) or ""):find("once", 1, true) then return name end
      end
    end
    assert(rabbit.eventually(function()
      if not written() then connection:publish("amq.fanout", "", "once", {}) end
      return written()
    end))
    assert.not_equal("tapped.ndjson", written())
    assert(program:kill "TERM")
    assert.equal(0, program:wait(PATIENCE_SECONDS))
    assert.same({ "tapped.ndjson" }, space:names())
    local summary = cjson.decode(program:stdout())
    assert.is_true(summary.stopped and summary.messages >= 1)
    assert.equal(summary.messages, #lines_of(space:read "tapped.ndjson"))
  end)

  -- A large queue is written to a pipe whose reader does nothing but what `reading` says.
  local LARGE, LARGE_BYTES = 100, 100000

  local function capture_to_pipe(reading)
    local queue = rabbit.queue "large"
    consumer.fill(queue, LARGE, { body = '{"id":%d}' .. (" "):rep(LARGE_BYTES) })
    local result = process.run({ "bash", "-c", ([[
      mkfifo pipe
      "%s" capture --queue %s --max 1000 --broker '%s' -o pipe >out 2>err &
      exec 3<pipe
      %s
      wait $!
      echo "code $?"
    ]]):format(moonrabbit.path, queue, rabbit.url, reading) },
      { cwd = space.path, timeout = PATIENCE_SECONDS })
    wait_for(queue, LARGE)
    assert.equal(ids_from(1, LARGE), ids_of(assert(assert(rabbit.connect()):drain(queue))))
    return result.out, space:read "out", space:read "err"
  end

  it("gives all back when it is interrupted in the middle of a queue", function()
    local out, said, err = capture_to_pipe 'IFS= read -r line <&3; kill -INT $!; echo "lines $(wc -l <&3)"'
    assert.equal("", err)
    local lines = tonumber(out:match "lines (%d+)") + 1
    assert.matches("\ncode 0\n", out)
    assert.equal(("stopped: captured %d of the %d messages in "):format(lines, LARGE), (said:match "^.-in "))
    assert.is_true(lines < LARGE)
  end)

  it("gives all back when it is killed", function()
    local out = capture_to_pipe "IFS= read -r line <&3; kill -KILL $!"
    assert.matches("code 137\n", out)
  end)

  it("says that its reader has gone, and gives all back", function()
    local out, said, err = capture_to_pipe "IFS= read -r line <&3; exec 3<&-"
    assert.matches("code 1\n", out)
    assert.matches("^captured %d+ of the 100 messages in ", said)
    assert.equal("moonrabbit: cannot write pipe: Broken pipe\n", err)
  end)

  it("says that the disk is full, leaves the file as it was and gives all back", function()
    local queue = rabbit.queue "captured"
    consumer.fill(queue, 50, { body = '{"id":%d}' .. (" "):rep(10000) })
    space:write("old.ndjson", "old")
    local command = ([[ulimit -f 100; exec "%s" capture --queue %s --max 99 --broker '%s' -o old.ndjson]])
      :format(moonrabbit.path, queue, rabbit.url)
    local result = process.run({ "bash", "-c", command }, { cwd = space.path, timeout = PATIENCE_SECONDS })
    assert.equal(1, result.code)
    assert.equal("moonrabbit: cannot write old.ndjson: File too large\n", result.err)
    assert.same({ "old.ndjson" }, space:names())
    assert.equal("old", space:read "old.ndjson")
    result = run(space, "--queue", queue, "--max=99", "-o/dev/full")
    assert.same({ 1, "moonrabbit: cannot write /dev/full: No space left on device\n" },
      { result.code, result.err })
    wait_for(queue, 50)
  end)

  it("replaces a file, through a link too, and keeps its mode", function()
    local queue = rabbit.queue "captured"
    consumer.fill(queue, 1)
    space:write("real.ndjson", "old")
    assert(stat.chmod(space.path .. "/real.ndjson", 384))
    assert(unistd.link("real.ndjson", space.path .. "/link.ndjson", true))
    assert.equal(0, run(space, "--queue", queue, "--max=1", "-o", "link.ndjson").code)
    assert.same({ "link.ndjson", "real.ndjson" }, space:names())
    assert.equal("1", lines_of(space:read "real.ndjson")[1].id)
    assert.equal(384, stat.stat(space.path .. "/real.ndjson").st_mode % 512)
    assert.equal("real.ndjson", unistd.readlink(space.path .. "/link.ndjson"))
  end)

  it("holds no more of them than the one at hand", function()
    if IS_ASAN then return end -- which takes all addresses that there are
    local queue = rabbit.queue "large"
    consumer.fill(queue, 10 * LARGE, { body = '{"id":%d}' .. (" "):rep(LARGE_BYTES) })
    local command = ([[ulimit -v 80000; exec "%s" capture --queue %s --max 9999 --broker '%s' -o /dev/null]])
      :format(moonrabbit.path, queue, rabbit.url)
    local result = process.run({ "bash", "-c", command }, { timeout = PATIENCE_SECONDS })
    assert.same({ 0, "" }, { result.code, result.err })
    assert.matches("^captured 1000 of the 1000 messages in .* %(95%.4MiB%)\n$", result.out)
  end)

  it("says what is wrong", function()
    local function assert_fails(words, ...)
      local result = run(space, "--max=5", "-o", "new.ndjson", ...)
      assert.matches("^moonrabbit: broker amqp://[^\n]*: " .. words .. "[^\n]*\n$", result.err)
      assert.same({ 1, "" }, { result.code, result.out })
      assert.same({}, space:names())
    end
    assert_fails("there is no queue no%-such%-queue", "--queue=no-such-queue")
    assert_fails("the broker refuses: 404 NOT_FOUND %- no exchange 'no%-such'", "--tap=no-such")
    local wrong = rabbit.url:gsub("guest:guest", "guest:wrong")
    local result = moonrabbit.run("capture", "--queue=q", "--max=5", "--broker=" .. wrong)
    assert.equal(1, result.code)
    assert.matches("refuses user guest: ACCESS_REFUSED", result.err)
    assert.not_matches("wrong", result.err)
  end)

  it("ends where the messages are for somebody else", function()
    local queue = rabbit.queue("single", { arguments = { ["x-single-active-consumer"] = true } })
    local one = consumer.start(queue, "return function() spin(60) end", { prefetch = 1 })
    assert(one:wait_log({ msg = "consuming" }))
    consumer.fill(queue, 3)
    local result = run(space, "--queue", queue, "--max=5", "-o", "none.ndjson")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.matches("^captured 0 of the [23] messages in ", result.out)
    assert(one:kill "KILL")
  end)
end)
