-- `moonrabbit replay` through the program itself: a file of messages in, a report out. No broker is needed.
local cjson = require "cjson"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local workspace = require "support.workspace"

local HANDLER = [[
local log, kept = require "log", {}
return function(order, message)
  if type(order) ~= "table" then return "reject", "a " .. type(order) .. ": " .. message.body end
  if order.log then log.info("seen", { id = message.id, tries = message.headers.tries }) end
  if order.hoard then kept[#kept + 1] = ("x"):rep(2000) .. #kept end
  if order.spin then string.find(("a"):rep(40), ("a*"):rep(40) .. "b") end
  if order.raise then error("no luck with " .. order.raise, 0) end
  return order.verdict, order.reason
end]]

describe("replay", function()
  local folder

  before_each(function()
    folder = workspace.new()
    folder:write("handler.lua", HANDLER)
  end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function write_messages(messages)
    local lines = {}
    for i, message in ipairs(messages) do
      lines[i] = type(message) == "string" and message or cjson.encode(message)
    end
    folder:write("messages.ndjson", table.concat(lines, "\n") .. "\n")
  end

  local function replay(...)
    local arguments = { "replay", "handler.lua", "messages.ndjson", ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    return moonrabbit.run(unpack(arguments))
  end

  local function report_of(...)
    local result = replay("--json", ...)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return cjson.decode(result.out)
  end

  it("counts what comes of the messages", function()
    write_messages {
      { body = { id = 1 } }, { body = { verdict = "ack" } }, { body = { verdict = "retry" } },
      { body = { verdict = "requeue" } }, { body = { verdict = "reject", reason = "why not" } },
      { body = { raise = "order 1" } }, { body = { raise = "order 22" } }, { body = { verdict = "maybe" } },
      { body = "{", content_type = "application/json" }, { body = { verdict = "retry" }, attempt = 5 },
    }
    local report = report_of()
    assert.equal(10, report.messages)
    assert.same({ ack = 2, retry = 2, requeue = 1, reject = 1, error = 4 }, report.verdicts)
    assert.same({ ack = 2, retry = 4, requeue = 1, reject = 3 }, report.settlements)
    assert.equal(3, #report.errors)
    local luck = report.errors[1]
    assert.same({ cause = "raised", text = "no luck with order 1", line = 6, count = 2 }, luck)
    assert.is_true(report.time.p50 > 0 and report.time.p50 <= report.time.p99)
    assert.is_true(report.time.p99 <= report.time.max)
    assert.equal(0, report.skipped)
  end)

  it("tells people", function()
    write_messages {
      { body = {} }, { body = { verdict = "reject" } }, { body = { raise = "it" } }, "nonsense",
    }
    local result = replay()
    assert.equal("", result.err)
    assert.matches("^3 messages in [%d.]+%a+, [%d,]+ a second\n  ack +1 +33.3 %%\n  reject +1 +33.3 %%\n",
      result.out)
    assert.matches("\n  time +p50 [%d.]+%a+, p99 [%d.]+%a+, max [%d.]+%a+\n", result.out)
    assert.matches("\n  memory +peak [%d.]+KiB; what lives: [+-][%d.]+%a+, [+-][%d.]+%a+ a message " ..
      "%(3 messages%)\n", result.out)
    assert.matches("\nerrors\n +1x  raised: no luck with it %(first on line 3%)\n", result.out)
    assert.matches("\n1 line skipped\n  line 4: it is not JSON: ", result.out)
  end)

  it("names the lines that are no message, and goes on", function()
    write_messages {
      "nonsense", "[1]", { bodi = 1 }, { body = 1, body_base64 = "AA==" }, { body_base64 = "?" },
      { priority = 300 }, { headers = "none" }, { routing_key = ("k"):rep(256) }, "", { body = {} },
    }
    local report = report_of()
    assert.equal(1, report.messages)
    assert.equal(8, report.skipped)
    local reasons = {
      "it is not JSON: Expected value but found invalid token at character 1",
      'it is no JSON object: write { "body": ... }, or give --bare', "a message has no field bodi",
      "give body or body_base64, not both", "body_base64 is no base64",
      "priority must be a whole number from 0 to 255", "headers is a string: give a table by header name",
      "routing_key has 256 bytes, and AMQP allows 255",
    }
    for line, reason in ipairs(reasons) do
      assert.same({ line = line, reason = reason }, report.skipped_lines[line])
    end
  end)

  it("takes whole messages, whose logs go where those of run go", function()
    write_messages { { id = "a", body = { log = true }, headers = { tries = 2 } } }
    local result = replay()
    assert.equal(0, result.code)
    assert.equal("seen", result.logs[1].msg)
    assert.equal("a", result.logs[1].id)
    assert.equal(2, result.logs[1].tries)
    assert.equal("replay", result.logs[1].consumer)
  end)

  it("takes bodies of bytes", function()
    folder:write("handler.lua", [[return function(body)
      if body ~= "\0\255\n\128x" then return "reject", "bytes changed" end
    end]])
    write_messages { { body_base64 = "AP8KgHg=" } }
    assert.equal(1, report_of().verdicts.ack)
  end)

  it("takes other texts and headers as bytes, too", function()
    folder:write("handler.lua", [[return function(_, message)
      local id, headers = message.id, message.headers
      if id ~= "\0\255" or headers.s ~= "\255" or headers.n ~= 7 then return "reject", "bytes changed" end
    end]])
    write_messages {
      { id_base64 = "AP8=", headers_base64 = "AXNTAAAAAf8BbkkAAAAH" },
      { id_base64 = "AP8=", headers_base64 = cjson.null, headers = { n = 7 } },
      { id = "a", id_base64 = "YQ==" }, { headers = {}, headers_base64 = "" }, { id_base64 = 7 },
      { bodi_base64 = "YQ==" }, { headers_base64 = "c2hvcnQ=" },
    }
    local report = report_of()
    assert.same({ 1, 1, 1 }, { report.verdicts.ack, report.verdicts.reject, report.verdicts.error })
    assert.matches("the headers of this message cannot be read", report.errors[1].text)
    for i, reason in ipairs { "give id or id_base64, not both", "give headers or headers_base64, not both",
      "id_base64 is no base64", "a message has no field bodi" } do
      assert.same({ line = i + 2, reason = reason }, report.skipped_lines[i])
    end
  end)

  it("takes bare bodies, from standard input too", function()
    folder:write("bodies", '{"id":1}\r\n\n{"verdict":"reject"}\n{"raise":"x"}')
    local command = ("'%s' replay --bare --json handler.lua - < bodies"):format(moonrabbit.path)
    local result = process.run({ "sh", "-c", command }, { cwd = folder.path })
    assert.equal("", result.err)
    assert.same({ ack = 1, retry = 0, requeue = 0, reject = 1, error = 1 },
      cjson.decode(result.out).verdicts)
  end)

  it("takes the end of a line away from bodies, and nothing else", function()
    folder:write("messages.ndjson", ("x"):rep(200000) .. "\r\n a \nb")
    folder:write("sizes.lua", "return function(body) if not ({ [200000] = true, [3] = true, " ..
      "[1] = true })[#body] then error(#body .. ' bytes') end end")
    local result = moonrabbit.run("replay", "--bare", "--json", "--decode", "raw", "sizes.lua",
      "messages.ndjson", { cwd = folder.path })
    assert.equal(3, cjson.decode(result.out).verdicts.ack)
  end)

  it("keeps the limits of run, and goes on with another worker", function()
    local large = { body = ("x"):rep(2000) }
    write_messages { { body = { spin = true } }, { body = {} }, large, { body = {} } }
    local report = report_of("--limits-deadline", "400ms", "--limits-grace", "100ms", "--limits-message",
      "1000B")
    assert.equal(1, report.deaths)
    assert.equal(2, report.verdicts.ack)
    assert.equal("killed", report.errors[1].cause)
    assert.matches("limits.deadline and limits.grace %(500ms together%)", report.errors[1].text)
    assert.equal("size", report.errors[2].cause)
  end)

  it("ends by --fail-on where one of the words came true", function()
    write_messages { { body = {} }, { body = { verdict = "requeue" } }, { body = { verdict = "reject" } } }
    assert.equal(0, replay("--fail-on", "error,leak").code)
    local result = replay("--fail-on", "error,retry,reject")
    assert.equal(1, result.code)
    assert.equal("moonrabbit: --fail-on saw retry, reject\n", result.err)
    write_messages { { body = { raise = "it" } } }
    assert.equal(1, replay("--fail-on=error").code)
  end)

  it("sees a leak", function()
    local messages = {}
    for i = 1, 1000 do messages[i] = { body = { hoard = true } } end
    write_messages(messages)
    local result = replay("--json", "--fail-on", "leak")
    assert.equal(1, result.code)
    local memory = cjson.decode(result.out).memory
    assert.is_true(memory.per_message > 2000 and memory.per_message < 2500, memory.per_message)
    assert.is_true(memory.peak >= 2000000)
  end)

  it("takes no large message for a leak", function()
    write_messages { { body = { text = ("x"):rep(3 * 2 ^ 20) } }, { body = ("y"):rep(3 * 2 ^ 20) } }
    folder:write("handler.lua", [[return function(body)
      return "reject", #(type(body) == "string" and body:rep(2) or body.text .. "!")
    end]])
    local result = replay("--json", "--fail-on", "leak")
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.is_true(cjson.decode(result.out).memory.grown < 100000)
  end)

  it("says so where a new state has nothing to tell of what lives", function()
    write_messages { { body = {} }, { body = {} } }
    local result = replay("--recycle-messages", "2")
    assert.matches("; of what lives nothing is known: the last state is new ", result.out)
    assert.matches("\n  recycled +1 for messages\n", result.out)
    assert.is_nil(report_of("--recycle-messages", "2").memory.per_message)
  end)

  it("stops after --max-messages", function()
    write_messages { { body = {} }, { body = {} }, { body = {} } }
    assert.equal(2, report_of("--max-messages", "2").messages)
  end)

  it("takes the consumer of the handler out of a configuration", function()
    folder:write("other.lua", "return function() error('not this one') end")
    folder:write("production.lua", [[return { consumers = {
      { queue = "a", handler = "other.lua" },
      { queue = "b", handler = "handler.lua", decode = "raw" },
    } }]])
    write_messages { { body = {} } }
    local result = replay("-c", "production.lua", "--json", "--log-level", "error")
    assert.equal(1, cjson.decode(result.out).verdicts.reject)
    result = moonrabbit.run("replay", "-c", "production.lua", "none.lua", "messages.ndjson",
      { cwd = folder.path })
    assert.equal("moonrabbit: production.lua has no consumer that runs none.lua\n", result.err)
    assert.equal(2, result.code)
  end)

  it("refuses what makes no sense", function()
    local function assert_refused(words, ...)
      local arguments = { "replay", ... }
      arguments[#arguments + 1] = { cwd = folder.path }
      local result = moonrabbit.run(unpack(arguments))
      assert.equal("moonrabbit: " .. words .. "\n", result.err)
      assert.equal(2, result.code)
    end
    write_messages {}
    assert_refused("replay takes a handler and a file of messages: moonrabbit replay handler.lua " ..
      "messages.ndjson", "handler.lua")
    assert_refused("none.ndjson: No such file or directory", "handler.lua", "none.ndjson")
    assert_refused(".: Is a directory", "handler.lua", ".")
    assert_refused("one handler and one file are enough, and b is a third", "handler.lua", "a", "b")
    assert_refused("--fail-on x: give error, reject, retry or leak, or several with commas between",
      "handler.lua", "messages.ndjson", "--fail-on", "x")
    assert_refused("--bare takes no value", "handler.lua", "messages.ndjson", "--bare=1")
    folder:write("broken.lua", "return 1")
    local result = moonrabbit.run("replay", "broken.lua", "messages.ndjson", { cwd = folder.path })
    assert.matches("^moonrabbit: broken.lua", result.err)
    assert.equal(2, result.code)
  end)
end)
