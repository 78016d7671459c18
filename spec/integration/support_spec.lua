-- What the integration specs stand on, tried on its own: the AMQP client, child processes, the private
-- broker, the proxy before it, workspaces, and the reading of the program's log.
local amqp = require "amqp"
local linux = require "support.linux"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local proxy = require "support.proxy"
local rabbit = require "support.rabbit"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local field = amqp.field

describe("support.amqp", function()
  local connection, queue

  before_each(function()
    connection = assert(rabbit.connect())
    queue = rabbit.queue("support")
  end)

  after_each(require "support.cleanup")

  local function round_trip(body, properties, options)
    assert(connection:publish("", queue, body, properties))
    local message = assert(connection:get(queue, options))
    assert.equal(body, message.body)
    return message
  end

  local function header(value, options)
    return round_trip("", { headers = { h = value } }, options).properties.headers.h
  end

  it("carries every basic property", function()
    local properties = {
      content_type = "application/json", content_encoding = "gzip", headers = { answer = 42 },
      delivery_mode = 2, priority = 9, correlation_id = "c-1", reply_to = "back", expiration = "60000",
      message_id = "m-1", timestamp = 1767225600, type = "order", user_id = "guest", app_id = "spec",
      cluster_id = "here",
    }
    assert.same(properties, round_trip("{}", properties).properties)
  end)

  it("publishes a message with no properties at all", function()
    local message = round_trip("bare")
    assert.same({}, message.properties)
    assert.same({ "", queue, false, 0 },
      { message.exchange, message.routing_key, message.redelivered, message.message_count })
  end)

  it("carries bodies of every byte, empty ones, and ones of many frames", function()
    local bytes = {}
    for byte = 0, 255 do
      bytes[#bytes + 1] = string.char(byte)
    end
    round_trip(table.concat(bytes))
    round_trip("")
    round_trip(table.concat(bytes):rep(4096))
  end)

  local plain = {
    { "t", true }, { "t", false },
    { "b", -128 }, { "b", 127 }, { "B", 255 },
    { "s", -32768 }, { "s", 32767 }, { "u", 65535 },
    { "I", -2147483648 }, { "I", 2147483647 }, { "i", 4294967295 },
    { "l", -9007199254740992 }, { "l", 9007199254740992 }, { "L", 9007199254740992 },
    { "l", "-9223372036854775808" }, { "l", "9223372036854775807" }, { "L", "18446744073709551615" },
    { "f", 0.5 }, { "f", -2 }, { "d", 0.1 }, { "d", 1e300 },
    { "S", "text" }, { "S", "" }, { "S", "a\0b" }, { "x", "\0\255" },
    { "T", 1767225600 }, { "T", 0 },
    { "F", {} }, { "A", {} },
  }
  for _, case in ipairs(plain) do
    local kind, value = case[1], case[2]
    local shown = type(value) == "table" and "{}" or ("%q"):format(tostring(value)):gsub("%c", "?")
    it(("carries the field type %s: %s"):format(kind, shown), function()
      assert.same(value, header(field(kind, value)))
      assert.same({ type = kind, value = value }, header(field(kind, value), { fields = true }))
    end)
  end

  it("carries decimals and void", function()
    assert.equal(12.34, header(field("D", { 2, 1234 })))
    assert.same({ type = "D", value = { 2, 1234 } }, header(field("D", { 2, 1234 }), { fields = true }))
    assert.equal(amqp.null, header(field("V")))
    assert.equal(amqp.null, header(amqp.null))
    assert.same({ type = "V", value = amqp.null }, header(field("V"), { fields = true }))
  end)

  it("carries tables in arrays in tables, to any sane depth", function()
    local nested = field("F", { list = field("A", { field("b", -1), field("F", { at = field("T", 7) }) }) })
    assert.same({ list = { -1, { at = 7 } } }, header(nested))
    local deep = "leaf"
    for _ = 1, 200 do
      deep = { deeper = { deep } }
    end
    local found = header(deep)
    for _ = 1, 200 do
      found = found.deeper[1]
    end
    assert.equal("leaf", found)
  end)

  it("maps plain values naturally", function()
    local types = {
      S = "text", l = 42, d = 1.5, t = true, A = { 1, 2 }, F = { key = "value" }, V = amqp.null,
    }
    assert(connection:publish("", queue, "", { headers = types }))
    for kind, value in pairs(connection:get(queue, { fields = true }).properties.headers) do
      assert.equal(kind, value.type)
    end
    assert.same(types, round_trip("", { headers = types }).properties.headers)
  end)

  it("refuses what no field can hold, and goes on", function()
    local too_deep = {}
    too_deep.itself = too_deep
    local refused = {
      { headers = { h = field("b", 128) } }, { headers = { h = field("B", -1) } },
      { headers = { h = field("l", 1.5) } }, { headers = { h = field("L", "-1") } },
      { headers = { h = field("l", "9223372036854775808") } }, { headers = { h = field("S", 5) } },
      { headers = { h = print } }, { headers = { 1, h = 2 } }, { headers = { [("k"):rep(256)] = 1 } },
      { headers = too_deep }, { message_id = ("m"):rep(256) }, { priority = 256 }, { no_such_property = 1 },
    }
    for _, properties in ipairs(refused) do
      assert.error(function() connection:publish("", queue, "", properties) end)
    end
    assert.error(function() field("Z", 1) end)
    assert.error(function() connection:publish("", ("k"):rep(256), "") end)
    round_trip("still here")
  end)

  it("answers nil for an empty queue", function()
    assert.same({ n = 1 }, { n = select("#", connection:get(queue)), connection:get(queue) })
  end)

  it("leaves a message unacked when told so, until its connection closes", function()
    local other = assert(rabbit.connect())
    assert(connection:confirm_select())
    assert(connection:publish_many("", queue, 3, "%d"))
    assert.equal("1", other:get(queue, { ack = false }).body)
    assert.same({ ready = 2, unacked = 1, consumers = 0 }, rabbit.counts(queue))
    assert(other:close())
    local message = connection:get(queue)
    assert.same({ "1", true, 2 }, { message.body, message.redelivered, message.message_count })
  end)

  it("drains a queue in order, and nothing stays", function()
    local template = '{"id":%d,"again":%d}'
    assert(connection:publish_many("", queue, 500, template, { message_id = "m-%d" }, { from = 100 }))
    local messages = assert(connection:drain(queue))
    assert.equal(500, #messages)
    for i, message in ipairs(messages) do
      local id = 99 + i
      assert.equal(('{"id":%d,"again":%d}'):format(id, id), message.body)
      assert.equal("m-" .. id, message.properties.message_id)
    end
    assert.same({}, connection:drain(queue))
    assert.same({ ready = 0, unacked = 0, consumers = 0 }, rabbit.counts(queue))
  end)

  it("has every message of publish_many in the queue when all are confirmed", function()
    assert(connection:confirm_select())
    assert.equal(20000, connection:publish_many("", queue, 20000, "%d", { delivery_mode = 2 }))
    assert.equal(20000, connection:queue_info(queue).messages)
    assert.equal(20000, connection:purge(queue))
    assert.equal(0, connection:publish_many("", queue, 0, "%d"))
  end)

  it("publishes and drains 100,000 messages", function()
    assert(connection:publish_many("", queue, 100000, "%d"))
    assert(rabbit.eventually(function() return connection:queue_info(queue).messages == 100000 end))
    local messages = assert(connection:drain(queue))
    assert.equal(100000, #messages)
    assert.equal("100000", messages[100000].body)
  end)

  it("tells of messages that the broker refused", function()
    local bounded = { ["x-max-length"] = 2, ["x-overflow"] = "reject-publish" }
    local full = rabbit.queue("support", { arguments = bounded })
    assert(connection:confirm_select())
    assert.same({ nil, "the broker refused 3 of 5 messages (basic.nack)" },
      { connection:publish_many("", full, 5, "%d") })
    assert.equal(2, #connection:drain(full))
  end)

  it("opens the channel again after the broker closed it, still in confirm mode", function()
    assert(connection:confirm_select())
    local _, reason = connection:publish("no such exchange", "key", "lost")
    assert.matches("404 NOT_FOUND", reason)
    _, reason = connection:publish_many("no such exchange", "key", 1000, "lost")
    assert.matches("404 NOT_FOUND", reason)
    for i = 1, 50 do
      assert(connection:publish("", queue, "kept"))
      assert.equal(i, connection:queue_info(queue).messages)
    end
    _, reason = connection:declare(queue, { durable = false })
    assert.matches("406 PRECONDITION_FAILED", reason)
    assert.equal(50, connection:delete(queue))
    assert.same({ nil, "not found" }, { connection:queue_info(queue) })
    _, reason = connection:drain(queue)
    assert.matches("404 NOT_FOUND", reason)
  end)

  it("declares quorum queues, exchanges and bindings", function()
    local quorum = rabbit.queue("support", { arguments = { ["x-queue-type"] = "quorum" } })
    local exchange = quorum .. "-exchange"
    assert(connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    assert(connection:bind(quorum, exchange, "orders.*"))
    assert(connection:confirm_select())
    assert(connection:publish(exchange, "orders.new", "routed"))
    assert(connection:publish(exchange, "elsewhere", "not routed"))
    local messages = connection:drain(quorum)
    assert.same({ 1, "routed", exchange, "orders.new" },
      { #messages, messages[1].body, messages[1].exchange, messages[1].routing_key })
  end)

  it("says what is wrong with a login", function()
    local _, reason = rabbit.connect { password = "wrong" }
    assert.matches("403 ACCESS_REFUSED", reason)
    _, reason = rabbit.connect { vhost = "nowhere" }
    assert.matches("vhost nowhere not found", reason)
    _, reason = rabbit.connect { port = 1 }
    assert.matches("cannot reach a broker at 127.0.0.1:1", reason)
  end)

  it("survives the end of its connection, and says so", function()
    assert(rabbit.ctl("close_all_connections", "no longer wanted"))
    local _, reason = connection:get(queue)
    assert.matches("^the broker closed the connection: 320 CONNECTION_FORCED .* no longer wanted", reason)
    assert.is_false(connection:is_open())
    assert.same({ nil, "the connection is closed" }, { connection:get(queue) })
    assert.is_true(connection:close())
  end)
end)

describe("support.process", function()
  after_each(require "support.cleanup")

  local function shell(script, options)
    return process.start({ "sh", "-c", script }, options)
  end

  it("runs a program to its end", function()
    local script = 'cat; echo "$MARK:${HOME-unset}:$PWD"; echo complaint >&2; exit 3'
    local result = process.run({ "sh", "-c", script },
      { stdin = "input\n", env = { MARK = "mark", HOME = false }, cwd = "/" })
    assert.is_true(result.usage.peak_rss > 0)
    result.usage = nil
    assert.same({ code = 3, out = "input\nmark:unset:/\n", err = "complaint\n", timed_out = false }, result)
  end)

  it("says why a program cannot be run", function()
    local result = process.run { "no-such-program" }
    assert.equal(127, result.code)
    assert.matches("cannot run no%-such%-program: .*No such file", result.err)
  end)

  it("ends a program that takes too long", function()
    local result = process.run({ "sleep", "60" }, { timeout = 0.1 })
    result.usage = nil
    assert.same({ signal = 9, out = "", err = "", timed_out = true }, result)
  end)

  it("never holds up a program whose output nobody reads", function()
    local p = shell "head -c 8000000 /dev/zero >&2; head -c 8000000 /dev/zero; echo; exit 7"
    assert.equal(7, p:wait())
    assert.same({ 8000000, 8000001 }, { #p:stderr(), #p:stdout() })
  end)

  it("waits for lines that are there already, that come later, and that are unfinished", function()
    local p = shell "echo one; echo two >&2; read line; echo three >&2; printf unfinished; exec sleep 60"
    assert.equal("one", p:wait_for "^o")
    assert.equal("two", p:wait_for "two")
    assert.equal("three", p:wait_for "three")
    assert.equal("unfinished", p:wait_for "unfin")
    assert.equal("one\nunfinished", p:stdout())
    assert.same({ "two", "three" }, p:stderr_lines())
    assert.same({ nil, "timeout: no line matched 'four'; standard error ends: two\nthree\n" },
      { p:wait_for("four", 0.05) })
  end)

  it("waits without taking the processor", function()
    local before = os.clock()
    local p = shell "sleep 1; echo ready; exec sleep 60"
    assert(p:wait_for "ready")
    assert.is_true(os.clock() - before < 0.5)
  end)

  it("tells of a program that ended before it said what was waited for", function()
    local p = shell "echo something else >&2"
    local line, reason = p:wait_for "ready"
    assert.is_nil(line)
    assert.matches("^ended: .*something else", reason)
    assert.equal(0, p:wait())
  end)

  it("sends signals and tells how a program ended", function()
    local p = shell "trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done"
    assert(p:wait_for "ready")
    assert.is_true(p:kill "HUP")
    assert(p:wait_for "hup")
    assert.same({ nil, "timeout" }, { p:wait(0.05) })
    assert.is_true(p:running())
    assert.is_true(p:kill())
    assert.same({ nil, "signal 15" }, { p:wait() })
    assert.is_false(p:running())
    assert.same({ nil, "ended" }, { p:kill() })
  end)

  it("looks at what a process holds", function()
    local p = shell "sleep 60 & echo ready; wait"
    assert(p:wait_for "ready")
    local children = p:children()
    assert.equal(1, #children)
    assert.is_true(process.alive(children[1]))
    assert.equal(p.pid, process.stat(children[1]).parent)
    assert.equal(p.pid, process.stat(children[1]).group)
    assert.equal(1, process.threads(p.pid))
    assert.is_true(process.rss(p.pid) > 100000)
    assert.is_nil(process.fds(2 ^ 30))
    assert.is_nil(process.rss(2 ^ 30))
    assert.is_false(process.alive(2 ^ 30))
  end)

  it("hands a child its three standard descriptors and no other", function()
    local held = assert(io.open("/dev/null"))
    local p = process.start { "sleep", "60" }
    local program = ("/proc/%d/exe"):format(p.pid)
    assert(rabbit.eventually(function() return linux.read_link(program):match "sleep" end))
    local count, targets = process.fds(p.pid)
    held:close()
    assert.equal(3, count)
    assert.equal("/dev/null", targets[0])
  end)

  it("ends whatever is left, with its group, and keeps what it said", function()
    local p = shell "trap '' TERM; sleep 60 & echo ready; wait; sleep 60"
    assert(p:wait_for "ready")
    local child = p:children()[1]
    process.kill_all()
    assert.is_false(process.alive(p.pid))
    assert(rabbit.eventually(function() return not process.alive(child) end))
    assert.equal("ready\n", p:stdout())
    assert.equal(9, p.signal)
  end)

  it("ends a child when the spec run itself is killed", function()
    local run = process.run { "luajit", "-e", ([[
      package.path = %q
      print(require "support.process".start({ "sleep", "60" }).pid)
      io.stdout:flush()
      require "posix.signal".raise(9)
    ]]):format(package.path) }
    assert.equal(9, run.signal)
    local orphan = assert(tonumber(run.out), run.err)
    assert(rabbit.eventually(function() return not process.alive(orphan) end))
  end)

  it("leaves nothing open behind", function()
    local function descriptors()
      return (process.fds(unistd.getpid()))
    end
    process.run { "true" }
    collectgarbage()
    local before = descriptors()
    for _ = 1, 20 do
      process.run { "true" }
      process.start { "sleep", "60" }
    end
    process.kill_all()
    assert.equal(before, descriptors())
  end)
end)

describe("support.rabbit", function()
  local cleanup = require "support.cleanup"
  after_each(cleanup)

  it("makes queues that end with the spec", function()
    local declared, named = rabbit.queue("support"), rabbit.name("support")
    assert.equal(0, rabbit.queue_info(declared).messages)
    assert.same({ nil, "not found" }, { rabbit.queue_info(named) })
    assert(rabbit.connect():declare(named))
    cleanup()
    assert.same({ nil, "not found" }, { rabbit.queue_info(declared) })
    assert.same({ nil, "not found" }, { rabbit.queue_info(named) })
    assert.same({ nil, "not found" }, { rabbit.counts(named) })
  end)

  it("asks until the answer is true, or time is over", function()
    local asked = 0
    assert.equal(3, rabbit.eventually(function()
      asked = asked + 1
      return asked == 3 and asked
    end))
    assert.same({ nil, "not within 0.1 seconds: too early" },
      { rabbit.eventually(function() return false, "too early" end, 0.1) })
  end)

  it("stops and starts the broker, which keeps what is durable", function()
    local queue, connection = rabbit.queue("support"), rabbit.connect()
    assert(connection:confirm_select())
    assert(connection:publish_many("", queue, 10, "%d", { delivery_mode = 2 }))
    rabbit.restart_broker()
    assert.equal(10, rabbit.queue_info(queue).messages)
    connection = rabbit.connect()
    rabbit.kill_broker()
    assert.is_nil((rabbit.connect()))
    local sent, reason
    repeat -- until the kernel knows that nobody is there: without being killed by SIGPIPE
      sent, reason = connection:publish("", queue, "lost")
    until not sent
    assert.matches("^the connection is lost: ", reason)
    cleanup() -- a spec that fails here must not take the broker from the next one
    assert(rabbit.connect())
  end)

  it("passes on what rabbitmqctl complains of", function()
    local output, reason = rabbit.ctl("no_such_command")
    assert.is_nil(output)
    assert.matches("no_such_command", reason)
  end)
end)

describe("support.proxy", function()
  local net, connection, queue

  before_each(function()
    net = proxy.start(rabbit.port)
    connection = assert(rabbit.connect { port = net.port, timeout = 2 })
    queue = rabbit.queue "proxy"
    assert(connection:confirm_select())
  end)

  after_each(require "support.cleanup")

  local function seconds_of(act)
    local began = linux.now()
    act()
    return linux.now() - began
  end

  local function publish(bytes) return connection:publish("", queue, ("x"):rep(bytes or 1)) end

  it("passes what each side says", function()
    for _ = 1, 100 do assert(publish(10000)) end
    assert.equal(100, rabbit.queue_info(queue).messages)
    assert.equal(10000, #assert(connection:get(queue)).body)
  end)

  it("delays and throttles, until it passes again", function()
    net:tell("delay", 200)
    assert.is_true(seconds_of(function() assert(publish()) end) >= 0.4)
    net:tell "pass"
    net:tell("throttle", 20000)
    assert.is_true(seconds_of(function() assert(publish(10000)) end) >= 0.5)
    net:tell "pass"
    assert(publish(1000000))
  end)

  it("cuts at once, and in the middle of what is sent", function()
    net:tell("cut", 5000)
    assert.equal(1, net:dying())
    assert.is_nil((publish(10000)))
    assert.equal(0, net:dying())
    connection = assert(rabbit.connect { port = net.port })
    net:tell "cut"
    assert.is_nil((connection:queue_info(queue)))
    assert.equal(0, rabbit.queue_info(queue).messages)
  end)

  for _, way in ipairs { "up", "down" } do
    it("loses what goes " .. way .. " without a word, and lets new connections through", function()
      net:tell("hole", way)
      assert.is_nil((publish()))
      assert.equal(way == "down" and 1 or 0, rabbit.queue_info(queue).messages)
      assert(assert(rabbit.connect { port = net.port }):queue_info(queue))
    end)
  end

  it("keeps a half-open connection until both sides have gone", function()
    net:tell("hole", "both")
    assert.equal(1, net:dying())
    connection:close()
    assert.equal(1, net:dying())
    net:tell "cut"
    assert.equal(0, net:dying())
  end)

  it("slips in a frame over which the broker closes the channel", function()
    net:tell("inject", "0100010000000d003c00507fffffffffffffff00ce")
    local _, reason = connection:queue_info(queue)
    assert.matches("unknown delivery tag", reason)
    assert(connection:queue_info(queue)) -- the connection stands
  end)
end)

describe("support.workspace", function()
  after_each(require "support.cleanup")

  it("writes and reads files, and is gone after the spec", function()
    local space = workspace.new()
    local path = space:write("handlers/deep/orders.lua", "return true")
    assert.equal(space.path .. "/handlers/deep/orders.lua", path)
    space:write("handlers/deep/orders.lua", "return false")
    assert.equal("return false", space:read("handlers/deep/orders.lua"))
    assert.is_nil((space:read("nothing")))
    workspace.cleanup()
    assert.is_nil((io.open(path)))
    assert.is_nil((io.open(space.path)))
  end)
end)

describe("support.moonrabbit", function()
  local cleanup = require "support.cleanup"
  local program = moonrabbit.path

  after_each(function()
    moonrabbit.path = program
    cleanup()
  end)

  local function pretend(script)
    moonrabbit.path = workspace.new():write("moonrabbit", "#!/bin/sh\n" .. script)
    assert(os.execute("chmod +x " .. moonrabbit.path) == 0)
  end

  it("reads the log of a program that runs", function()
    pretend [[
      echo "{\"level\":\"info\",\"msg\":\"started with $1 $2\",\"workers\":2}" >&2
      echo "not JSON" >&2
      read line
      echo '{"level":"error","msg":"started again","workers":1}' >&2
      exec sleep 60
    ]]
    local m = moonrabbit.start("run", "handler.lua", { env = { MARK = "1" } })
    local line, at = m:wait_log { msg = "started" }
    assert.same({ "started with run handler.lua", 1 }, { line.msg, at })
    assert.equal(3, select(2, m:wait_log({ msg = "started" }, { after = at })))
    assert.equal(3, select(2, m:wait_log { level = "error", workers = function(n) return n < 2 end }))
    assert.same({ raw = "not JSON" }, m:log_lines()[2])
    local missing, reason = m:wait_log({ msg = "never" }, { timeout = 0.05 })
    assert.is_nil(missing)
    assert.matches("^timeout: .*started again", reason)
    assert.is_true(m:kill())
  end)

  it("runs a program to its end", function()
    pretend [[echo '{"msg":"done"}' >&2; echo "$1"; exit 2]]
    local result = moonrabbit.run("check")
    assert.same({ 2, "check\n", { { msg = "done" } } }, { result.code, result.out, result.logs })
  end)

  it("fails a spec in which a sanitizer complained", function()
    pretend [[echo "==7==ERROR: AddressSanitizer: heap-use-after-free" >&2]]
    moonrabbit.run("run")
    assert.error_matches(cleanup, "heap%-use%-after%-free")
    pretend [[echo "runtime/host/ledger.c:1:2: runtime error: shift exponent -1 is negative" >&2]]
    assert(moonrabbit.start("run"):wait())
    assert.error_matches(cleanup, "shift exponent")
  end)

  it("says what to do when there is no program", function()
    moonrabbit.path = "build/no-such-program"
    assert.error_matches(moonrabbit.run, "build it by 'make'")
  end)
end)
