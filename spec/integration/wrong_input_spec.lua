-- Whatever is wrong outside of moonrabbit gets one clear line that says what, where and what to do, and the
-- right exit code: 1 when the world refused while running, 2 for wrong usage, configuration or scripts. No
-- message is lost by it. `check` finds what can be found without a broker.
local amqp = require "amqp"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local field = amqp.field
local cleanup = require "support.cleanup"

local JSON = { content_type = "application/json" }
local NEXT = { content_type = "application/json", message_id = "next" }

-- A handler that tells of each message.
local TELL = [[
  local log = require "log"
  return function(data, message) log.info("handled", { id = message.id }) end
]]

-- The program, run to its end in the folder of the workspace.
local function run_in(space, ...)
  local arguments = { ... }
  arguments[#arguments + 1] = { cwd = space.path }
  return moonrabbit.run(unpack(arguments))
end

-- The lines of the log that say that something is wrong.
local function complaints(logs)
  local found = {}
  for _, line in ipairs(logs) do
    found[#found + 1] = (line.raw or line.level == "error" or line.level == "warning") and line or nil
  end
  return found
end

-- One complaint of a program that ran, with all the words that are given, in their order.
local function assert_failed(result, code, ...)
  local found = complaints(result.logs)
  assert.equal(1, #found, result.err)
  assert.equal("moonrabbit stopped by an error", found[1].msg, result.err)
  local at = 1
  for _, words in ipairs { ... } do
    local _, stop = found[1].error:find(words, at, true)
    assert(stop, ("%q is not in its place in: %s"):format(words, found[1].error))
    at = stop + 1
  end
  assert.equal(code, result.code)
end

describe("a broker that cannot be used", function()
  local space

  before_each(function()
    space = workspace.new()
    space:write("handler.lua", TELL)
  end)

  after_each(cleanup)

  local function run(url, ...)
    return run_in(space, "run", "handler.lua", "--queue", "q", "--broker", url, ...)
  end

  -- A program that listens on a port of its own, and does with each connection what the Lua says.
  local function listen(behaviour)
    local program = process.start { "luajit", "-e", [[
      local socket = require "posix.sys.socket"
      local unistd = require "posix.unistd"
      require "posix.signal".signal(13, function() end)
      local fd = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
      assert(socket.bind(fd, { family = socket.AF_INET, addr = "127.0.0.1", port = 0 }))
      assert(socket.listen(fd, 8))
      print("port " .. socket.getsockname(fd).port)
      io.stdout:flush()
      while true do
        local peer = assert(socket.accept(fd))
        ]] .. behaviour .. [[
      end
    ]] }
    local line = assert(program:wait_for("^port %d+$"))
    return line:match("%d+")
  end

  local function answer(bytes)
    return ("socket.recv(peer, 100); socket.send(peer, %q)"):format(bytes)
  end

  it("because nobody listens there", function()
    assert_failed(run "amqp://guest:s3cret@127.0.0.1:1/%2f", 1, "broker amqp://127.0.0.1:1/%2f",
      "cannot connect", "Connection refused", "is it running there, and is the port right?")
  end)

  it("because there is no such host", function()
    assert_failed(run "amqp://no-such-host.invalid/v", 1, "broker amqp://no-such-host.invalid:5672/v",
      "cannot connect", "no such host is known", "check the host name")
  end)

  it("because what listens there says nothing", function()
    local port = listen ""
    for _, scheme in ipairs { "amqp", "amqps" } do
      local result = run(("%s://localhost:%s/v"):format(scheme, port), "--broker-connection-timeout", "200ms")
      assert_failed(result, 1, ("broker %s://localhost:%s/v"):format(scheme, port), "no answer within 200ms",
        "broker.connection_timeout")
    end
  end)

  for name, behaviour in pairs {
    ["hangs up"] = "unistd.close(peer)",
    ["speaks HTTP"] = answer "HTTP/1.1 400 Bad Request\r\n\r\n" .. "; unistd.close(peer)",
    ["sends garbage"] = answer(("\1\0\255AMQP\206 garbage"):rep(20)),
    ["speaks another AMQP"] = answer "AMQP\3\1\0\0" .. "; unistd.close(peer)",
  } do
    it("because what listens there " .. name, function()
      local port = listen(behaviour)
      assert_failed(run(("amqp://127.0.0.1:%s/v"):format(port)), 1,
        ("broker amqp://127.0.0.1:%s/v: cannot log in: "):format(port),
        "; does this port speak AMQP 0-9-1 (5672")
      assert_failed(run(("amqps://127.0.0.1:%s/v"):format(port)), 1,
        ("broker amqps://127.0.0.1:%s/v: cannot connect: the TLS handshake failed"):format(port),
        "is this the broker's TLS port (5671")
    end)
  end

  it("because of a wrong password, which nobody gets to see", function()
    local result = run((rabbit.url:gsub(":guest@", ":wr0ng@")))
    assert_failed(result, 1, "broker amqp://127.0.0.1", "refuses user guest", "ACCESS_REFUSED",
      "check user and password in the URL")
    assert.is_nil((result.err .. result.out):find("wr0ng", 1, true))
  end)

  it("because it has no such vhost", function()
    assert_failed(run((rabbit.url:gsub("/[^/]*$", "/nowhere"))), 1, "/nowhere", "refuses user guest",
      "vhost nowhere not found", "check the vhost in the URL")
  end)

  it("is tried again while broker.wait says so, each time with the reason", function()
    local result = run("amqp://127.0.0.1:1/", "--broker-wait", "1500ms")
    local found = complaints(result.logs)
    assert.is_true(#found > 1)
    assert.matches("Connection refused", found[1].error)
    assert.equal("cannot connect", found[1].msg)
    assert.equal("moonrabbit stopped by an error", found[#found].msg)
    assert.equal(1, result.code)
  end)
end)

describe("a queue that cannot be consumed", function()
  after_each(cleanup)

  local function run_at(url, queue, ...)
    local space = workspace.new()
    space:write("handler.lua", TELL)
    return run_in(space, "run", "handler.lua", "--queue", queue, "--broker", url, ...)
  end

  local function run(queue, ...)
    return run_at(rabbit.url, queue, ...)
  end

  it("because it is not there, and nothing declares it", function()
    local queue = rabbit.name "missing"
    assert_failed(run(queue), 1, "queue " .. queue, "404 NOT_FOUND",
      "create the queue, correct its name, or add", "declare = { durable = true")
    assert.is_nil((rabbit.queue_info(queue)))
    local declared = run(queue, "--declare-durable", "--exit-when-idle", "0s")
    assert.equal(0, declared.code, declared.err)
    assert(rabbit.queue_info(queue))
  end)

  for _, case in ipairs {
    { { "--declare-max-length", "5" }, "x-max-length" },
    { { "--declare-max-length", "none", "--declare-ttl", "1s" }, "x-message-ttl" },
    { { "--declare-max-length", "none", "--declare-type", "quorum" }, "x-queue-type" },
    { { "--declare-max-length", "none", "--declare-dead-letter-exchange", "dlx" }, "x-dead-letter-exchange" },
    { { "--declare-durable=false", "--declare-max-length", "none" }, "durable" },
  } do
    it("because it exists without the " .. case[2] .. " that is declared", function()
      local queue = rabbit.queue "other"
      local connection = rabbit.connect()
      assert(connection:confirm_select() and connection:publish("", queue, "{}"))
      assert_failed(run(queue, unpack(case[1])), 1, "queue " .. queue, "406 PRECONDITION_FAILED",
        "inequivalent arg '" .. case[2] .. "'", "make `declare` say what it has, or delete the queue")
      assert.equal(1, rabbit.queue_info(queue).messages)
    end)
  end

  it("because another connection has it for itself", function()
    local queue = rabbit.name "exclusive"
    assert(rabbit.connect():declare(queue, { exclusive = true }))
    assert_failed(run(queue), 1, "queue " .. queue, "405 RESOURCE_LOCKED", "uses the queue exclusively")
  end)

  it("because the user may not", function()
    local queue, user = rabbit.queue "forbidden", "moonrabbit-" .. unistd.getpid()
    local url = rabbit.url:gsub("//guest:guest@", "//" .. user .. ":s3cret@")
    assert(rabbit.ctl("add_user", user, "s3cret"))
    finally(function() assert(rabbit.ctl("delete_user", user)) end)
    assert_failed(run_at(url, queue), 1, "refuses user " .. user, "access to vhost '/' refused",
      "the user's permissions on it")
    assert(rabbit.ctl("set_permissions", user, "^$", "^$", "^$"))
    assert_failed(run_at(url, queue), 1, "queue " .. queue, "403 ACCESS_REFUSED",
      "give the user configure, write and read permission on the queue")
  end)
end)

-- What `check` prints of one fault; the words are in their order.
local function assert_refused(result, ...)
  local line, more = result.err:match("^moonrabbit: ([^\n]+)\n(.*)$")
  assert.equal("", more, result.err)
  local at = 1
  for _, words in ipairs { ... } do
    local _, stop = line:find(words, at, true)
    assert(stop, ("%q is not in its place in: %s"):format(words, line))
    at = stop + 1
  end
  assert.same({ 2, "" }, { result.code, result.out })
end

describe("a script that cannot run", function()
  local ENDING = "end it with `return function(data, message) ... end`"

  after_each(cleanup)

  for name, case in pairs {
    ["has a syntax error"] = { "return function(a b) end", "handler.lua:1:", "expected near 'b'" },
    ["returns nothing"] = { "local x = 1", "handler.lua returned nothing:", ENDING },
    ["is empty"] = { "", "handler.lua returned nothing:", ENDING },
    ["returns a number"] = { "return 42", "handler.lua returned a number:", ENDING },
    ["returns a table without handle"] = { "return { setup = function() end }",
      "handler.lua returned a table without `handle`", "{ handle = function(data, message) ... end }" },
    ["returns a handle that is no function"] = { "return { handle = 5 }",
      "handler.lua returned a table whose `handle` is a number", "it has to be a function" },
    ["returns a teardown that is no function"] = { "return { handle = print, teardown = true }",
      "whose `teardown` is a boolean" },
    ["requires what is not there"] = { "local x = 1\nrequire 'no.such'",
      "handler.lua:2: module 'no.such' cannot be loaded", "there is neither no/such.lua nor no/such/init.lua",
      "moonrabbit brings cache, cjson, cjson.safe," },
    ["requires what does not parse"] = { "require 'broken'", "module 'broken' cannot be loaded",
      "broken.lua:2:", "near '%'" },
    ["requires what raises"] = { "require 'raises'", "raises.lua:1: on purpose" },
    ["requires itself"] = { "require 'handler'", "module 'handler' requires itself: handler -> handler" },
    ["raises"] = { "local t\nt.x = 1", "handler.lua:2: attempt to index local 't' (a nil value)" },
    ["raises a table"] = { "error { message = 'as a table' }", "handler.lua: as a table" },
    ["raises in setup"] = { "return { handle = print, setup = function()\n error 'no data' end }",
      "setup of handler.lua failed: handler.lua:2: no data" },
    ["is bytecode"] = { string.dump(loadstring "return print"), "handler.lua is bytecode: only Lua text" },
  } do
    it("because it " .. name .. " is refused by run and by check", function()
      local one = scene.new { ["handler.lua"] = case[1], ["broken.lua"] = "local x\nreturn % 2",
        ["raises.lua"] = "error 'on purpose'" }
      one:publish("{}", JSON)
      assert_failed(run_in(one.space, "run", "handler.lua", "--queue", one.queue, "--broker", rabbit.url), 2,
        unpack(case, 2))
      assert_refused(run_in(one.space, "check", "handler.lua", "--queue", one.queue), unpack(case, 2))
      assert.equal(1, one:waiting())
    end)
  end

  it("because it does not come to an end is refused, and named", function()
    local one = scene.new "while true do end"
    local limits = { "--queue", one.queue, "--limits-deadline", "50ms", "--limits-grace", "50ms" }
    local reason = { "handler.lua", "limits.deadline and limits.grace (100ms together)" }
    assert_failed(run_in(one.space, "run", "handler.lua", "--broker", rabbit.url, unpack(limits)), 2,
      unpack(reason))
    assert_refused(run_in(one.space, "check", "handler.lua", unpack(limits)), unpack(reason))
  end)
end)

describe("a configuration that cannot be", function()
  local space

  before_each(function()
    space = workspace.new()
    space:write("handler.lua", TELL)
  end)

  after_each(cleanup)

  local CONSUMER = 'queue = "q", handler = "handler.lua"'

  for name, case in pairs {
    ["has an unknown key"] = { "consumers = { { %s, prefetc = 5 } }",
      "moonrabbit.lua: consumers[1].prefetc is unknown: did you mean consumers[1].prefetch?" },
    ["has a wrong type"] = { "consumers = { { %s, workers = 'two' } }",
      'moonrabbit.lua: consumers[1].workers is "two": give a whole number from 1 to 256' },
    ["has prefetch 0"] = { "consumers = { { %s, prefetch = 0 } }",
      "moonrabbit.lua: consumers[1].prefetch is 0: without a limit", "run out of memory",
      "give a whole number from 1 to 65535" },
    ["has more consumers than channels"] = {
      "broker = { max_channels = 2 }, consumers = { {%s}, {%s}, {%s} }",
      "moonrabbit.lua: broker.max_channels is 2, but 3 channels are needed", "raise it, or run fewer" },
    ["has no queue"] = { "consumers = { { handler = 'handler.lua' } }",
      "moonrabbit.lua: consumers[1].queue is missing", 'add queue = "NAME"' },
    ["has an authority file that is none"] = {
      'broker = { url = "amqps://localhost/", tls = { ca = "handler.lua" } }, consumers = { { %s } }',
      "broker.tls.ca: no certificates of authorities can be read from handler.lua", "PEM file" },
    ["does not parse"] = { "consumers = { { %s ", "moonrabbit.lua:1:", "'}' expected" },
  } do
    it("because it " .. name .. " is refused by run and by check", function()
      space:write("moonrabbit.lua", "return { " .. case[1]:gsub("%%s", CONSUMER) .. " }")
      assert_refused(run_in(space, "check"), unpack(case, 2))
      local result = run_in(space, "run")
      if result.logs[1].raw then
        assert_refused(result, unpack(case, 2))
      else
        assert_failed(result, 2, unpack(case, 2))
      end
    end)
  end

  it("is told with everything that is wrong in it", function()
    space:write("moonrabbit.lua", "return { brocker = {}, consumers = { { workers = 0, prefetch = 0 } } }")
    local result = run_in(space, "check")
    assert.equal(2, result.code)
    assert.equal(5, #result.logs, result.err)
  end)
end)

-- Every line of the log is JSON, and none has bytes in it that are no UTF-8.
local function assert_readable(result)
  for _, line in ipairs(result.logs) do
    assert.is_nil(line.raw)
  end
  assert.is_nil(result.err:find("[\192\193\245-\255]")) -- which UTF-8 never has
end

describe("a body that cannot be decoded", function()
  after_each(cleanup)

  for name, body in pairs {
    ["that breaks off"] = '{"total": [1, 2',
    ["with something behind it"] = "{} {}",
    ["with NaN in it"] = "[NaN]",
    ["of blanks"] = "  ",
    ["that is empty"] = "",
    ["of bytes that are no text"] = "\0\1\255\254",
    ["nested too deeply"] = ("["):rep(2000) .. ("]"):rep(2000),
  } do
    it(name .. " is a dead letter with the parser's words in the log, and the next is handled", function()
      local one = scene.new(TELL)
      one:publish(body, { content_type = "application/json", message_id = "bad", headers = { kept = true } })
      one:publish("{}", NEXT)
      local result = one:settle(2)
      local line = scene.find(result.logs, "message rejected: its body cannot be decoded")
      assert.equal(line.level, "warning")
      assert.same({ "bad", one.queue, one.queue, 1 }, { line.id, line.queue, line.routing_key, line.attempt })
      assert.matches("^the body is not JSON: %u.+", line.reason)
      assert.equal("next", scene.find(result.logs, "handled").id)
      assert_readable(result)
      local letter = one:dead_letters(1)[1]
      assert.same({ body, "bad", true },
        { letter.body, letter.properties.message_id, letter.properties.headers.kept })
    end)
  end

  it("is one without JSON where decode = json asks for it, whatever the content type", function()
    local one = scene.new(TELL)
    one:publish("text", { content_type = "text/plain" })
    one:publish("text")
    local result = one:settle(2, "--decode", "json")
    assert.equal(2, #scene.find_all(result.logs, "message rejected: its body cannot be decoded"))
    assert.equal(2, #one:dead_letters(2))
  end)
end)

describe("a body over limits.message", function()
  local MiB = 2 ^ 20

  after_each(cleanup)

  it("is a dead letter, one of just that size and the next are handled", function()
    local one = scene.new(TELL)
    one:publish(("x"):rep(1000), { message_id = "at the limit" })
    one:publish(("x"):rep(1001), { message_id = "over it" })
    one:publish("{}", NEXT)
    local result = one:settle(3, "--limits-message", "1000")
    local line = scene.find(result.logs, "message rejected: its body is too large")
    assert.same({ "warning", "over it", one.queue }, { line.level, line.id, line.queue })
    assert.equal("its body has 1001 bytes, limits.message is 1000", line.reason)
    local handled = scene.find_all(result.logs, "handled")
    assert.same({ "at the limit", "next" }, { handled[1].id, handled[2].id })
    local letters = one:dead_letters(1)
    assert.same({ 1, 1001, "over it" }, { #letters, #letters[1].body, letters[1].properties.message_id })
  end)

  it("is not kept in memory", function()
    local one = scene.new(TELL)
    local program = one:start("--limits-message", "1MiB")
    one:publish("{}", { content_type = "application/json", message_id = "before" })
    assert(program:wait_log { msg = "handled", id = "before" })
    local before = process.peak_rss(program.pid)
    for _ = 1, 3 do
      one:publish(("x"):rep(32 * MiB))
    end
    one:publish("{}", NEXT)
    assert(program:wait_log { msg = "handled", id = "next" })
    local grown = process.peak_rss(program.pid) - before
    assert.is_true(grown < 8 * MiB, grown .. " bytes more")
    assert(program:kill "TERM")
    assert.equal(0, program:wait())
    assert.equal(3, #one:dead_letters(3))
  end)
end)

describe("a message with", function()
  after_each(cleanup)

  local function seen(one, ...)
    return scene.find(one:settle(1, ...).logs, "seen")
  end

  it("no properties at all is handled as bytes", function()
    local one = scene.new [[
      local log, describe = require "log", require "describe"
      return function(data, message)
        local properties = {}
        for name in ("id content_type content_encoding correlation_id reply_to timestamp priority " ..
          "delivery_mode type app_id user_id expiration"):gmatch "%S+" do
          properties[name] = message[name]
        end
        log.info("seen", { data = describe(data), properties = describe(properties),
          headers = describe(message.headers) })
      end
    ]]
    one:publish "{}"
    local line = seen(one)
    assert.same({ '"{}"', "{}", "{}" }, { line.data, line.properties, line.headers })
  end)

  it("headers of every field type shows them as Lua values", function()
    local one = scene.new [[
      local log, describe = require "log", require "describe"
      return function(_, message)
        for name, value in pairs(message.headers) do
          log.info("header " .. name, { value = describe(value), type = type(value) })
        end
      end
    ]]
    local expected = {
      t = { true, "true", "boolean" },
      b = { -128, "-128", "number" }, B = { 255, "255", "number" },
      s = { -32768, "-32768", "number" }, u = { 65535, "65535", "number" },
      I = { -2147483648, "-2147483648", "number" }, i = { 4294967295, "4294967295", "number" },
      l = { "-9007199254740991", "-9007199254740991", "number" },
      L = { "18446744073709551615", "1.8446744073709552e+19", "number" },
      f = { -0.5, "-0.5", "number" }, d = { 1e300, "1.0000000000000001e+300", "number" },
      D = { { 2, 1234 }, "12.34", "number" },
      S = { "caf\195\169", '"caf\\xc3\\xa9"', "string" }, x = { "\0\255", '"\\x00\\xff"', "string" },
      T = { 1767225600, "1767225600", "number" },
      V = { nil, "null", "userdata" },
      F = { { deep = { list = { 1, { two = "2" } } } }, '{deep: {list: {1: 1, 2: {two: "2"}}}}', "table" },
      A = { { field("t", false), field("V"), field("A", { "x" }) }, '{1: false, 2: null, 3: {1: "x"}}',
        "table" },
    }
    local headers = {}
    for kind, case in pairs(expected) do
      headers[kind] = field(kind, case[1])
    end
    one:publish("", { headers = headers })
    local result = one:settle(1)
    for kind, case in pairs(expected) do
      local line = scene.find(result.logs, "header " .. kind)
      assert.same({ kind, case[2], case[3] }, { kind, line.value, line.type })
    end
    assert_readable(result)
  end)

  local function nested(depth)
    local value = "leaf"
    for _ = 2, depth do
      value = { d = value }
    end
    return { d = value }
  end

  local LOOK = [[
    local log, describe = require "log", require "describe"
    return function(data, message) log.info("seen", { headers = describe(message.headers) }) end
  ]]

  it("headers 32 tables deep shows them all", function()
    local one = scene.new(LOOK)
    one:publish("", { headers = nested(32) })
    assert.equal(("{d: "):rep(32) .. '"leaf"' .. ("}"):rep(32), seen(one).headers)
  end)

  it("headers nested deeper than that fails where the handler looks at them", function()
    for _, depth in ipairs { 33, 900 } do
      local one = scene.new(LOOK)
      one:publish("", { headers = nested(depth), message_id = "deep" })
      local result = one:settle(1, "--retry-attempts", "1")
      local line = scene.find(result.logs, "message rejected: the handler failed and no attempt is left")
      assert.equal("deep", line.id)
      assert.matches("^handler.lua:2: the headers of this message nest deeper than 32 tables", line.reason)
      assert.equal("deep", one:dead_letters(1)[1].properties.message_id)
      one = scene.new(TELL)
      one:publish("", { headers = nested(depth), message_id = "deep" })
      assert.equal("deep", scene.find(one:settle(1).logs, "handled").id)
    end
  end)

  it("100 kB of headers shows them all", function()
    local one = scene.new [[
      local log = require "log"
      return function(_, message)
        local count, bytes = 0, 0
        for key, value in pairs(message.headers) do
          count, bytes = count + 1, bytes + #key + #value
        end
        log.info("seen", { count = count, bytes = bytes })
      end
    ]]
    local headers, bytes = {}, 0
    for i = 1, 100 do
      local key, value = ("k%d"):format(i), ("v"):rep(i % 2 == 0 and 1990 or 10)
      headers[key], bytes = value, bytes + #key + #value
    end
    assert.is_true(bytes > 100000)
    one:publish("", { headers = headers })
    local line = seen(one)
    assert.same({ 100, bytes }, { line.count, line.bytes })
  end)

  it("names as long as AMQP allows is handled, and named whole in the log", function()
    local one = scene.new [[
      local log = require "log"
      return function(_, message)
        log.info("seen", { key = message.routing_key, id = message.id, header = next(message.headers) })
        return "reject", ("r"):rep(255)
      end
    ]]
    local exchange = one.queue .. "-exchange"
    assert(one.connection:declare_exchange(exchange, "fanout", { auto_delete = true }))
    assert(one.connection:bind(one.queue, exchange, ""))
    local key, id, name = ("k"):rep(255), ("m"):rep(255), ("n"):rep(255)
    assert(one.connection:publish(exchange, key, "", { message_id = id, headers = { [name] = 1 } }))
    local result = one:settle(1)
    local line = scene.find(result.logs, "seen")
    assert.same({ key, id, name }, { line.key, line.id, line.header })
    line = scene.find(result.logs, "message rejected by the handler")
    assert.same({ "info", key, id, ("r"):rep(255) }, { line.level, line.routing_key, line.id, line.reason })
  end)

  for name, case in pairs {
    ["UTF-8"] = { "caf\195\169 \240\159\144\135" },
    ["control characters and quotes"] = { 'a"b\\c\n{"level":"error"}\27[31m\0\127' },
    ["bytes that are no UTF-8"] = { "a\255\192\128b", "a\239\191\189\239\191\189\239\191\189b" },
  } do
    it(name .. " in its id and routing key leaves the log readable", function()
      local one = scene.new [[
        local log = require "log"
        return function(_, message)
          log.info("seen " .. message.id, { id = message.id, [message.id] = 1 })
          return "reject", message.id
        end
      ]]
      local exchange = one.queue .. "-exchange"
      assert(one.connection:declare_exchange(exchange, "fanout", { auto_delete = true }))
      assert(one.connection:bind(one.queue, exchange, ""))
      assert(one.connection:publish(exchange, case[1], "", { message_id = case[1] }))
      local result = one:settle(1)
      assert_readable(result)
      local shown = case[2] or case[1]
      assert.equal(shown, scene.find(result.logs, "seen " .. shown).id)
      local line = scene.find(result.logs, "message rejected by the handler")
      assert.same({ shown, shown, shown }, { line.id, line.routing_key, line.reason })
    end)
  end
end)
