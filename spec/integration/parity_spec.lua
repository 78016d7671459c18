-- The same 200 messages through `moonrabbit test`, through `moonrabbit replay` and through a broker: each
-- message has the same end, the same log lines and publishes the same in all three.
local cjson = require "cjson"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local cleanup = require "support.cleanup"

local COUNT = 200
local BINARY, BINARY_BASE64 = "\0\255\n\128x", "AP8KgHg="

-- Says what it saw of each message, then ends it in one of all the ways there are.
local HANDLER = [[
  local log, describe = require "log", require "describe"
  local ends = {
    ack = function() return true end,
    reject = function() return "reject", "refused" end,
    retry = function() return "retry", "5s" end,
    requeue = function() return "requeue" end,
    raise = function() error("no luck") end,
    nonsense = function() return "maybe" end,
    hoard = function() local t = {} for i = 1, 1e7 do t[i] = ("x"):rep(1000) .. i end end,
  }
  return function(data, message)
    local kind = message.headers.kind
    if kind ~= "retry" then -- also those that fail: of them nothing may be published
      local properties = { priority = 3, headers = { kind = kind } }
      message:publish("", message.headers.out, { id = message.id }, properties)
      message:publish("", message.headers.out, "\0" .. message.id, { message_id = message.id, type = kind })
    end
    log.info("seen", { id = message.id, kind = kind, attempt = message.attempt, data = describe(data),
      headers = describe(message.headers), type = message.content_type })
    if ends[kind] then return ends[kind]() end
  end
]]

-- Where handlers publish to.
local out

local KINDS = { "ack", "reject", "retry", "requeue", "raise", "nonsense", "text", "undecodable", "binary" }

-- As replay and test take it; `bytes` is the body as the broker does.
local function message_of(i)
  local kind = i % 100 == 50 and "hoard" or KINDS[i % #KINDS + 1]
  local bodies = { text = "text " .. i, undecodable = "{", binary = BINARY }
  local headers = { kind = kind, number = i, out = out, deep = { list = { 1, "two", true } } }
  local message = { id = tostring(i), headers = headers }
  local bytes = bodies[kind] or ('{"id":%d,"half":%s}'):format(i, i + 0.5)
  if kind ~= "text" and kind ~= "binary" then message.content_type = "application/json" end
  message.body = bytes
  if kind == "binary" then message.body, message.body_base64 = nil, BINARY_BASE64 end
  return message, bytes
end

-- Log lines of the handler by the message's id; each has one, where it was called.
local function add_line(lines, fields)
  assert(not lines[fields.id], "two lines for message " .. fields.id)
  lines[fields.id] = { fields.kind, fields.attempt, fields.data, fields.headers, fields.type or "" }
end

local function lines_of_log(log)
  local lines = {}
  for _, line in ipairs(scene.find_all(log, "seen")) do add_line(lines, line) end
  return lines
end

local FLAGS = { "--retry-attempts=1", "--limits-memory=8MiB" }

local function through_broker(one, messages)
  for _, message in ipairs(messages) do
    one:publish(message.bytes, { message_id = message.given.id, content_type = message.given.content_type,
      headers = message.given.headers })
  end
  local result = one:settle(COUNT, unpack(FLAGS))
  local stopped = scene.find(result.logs, "consumer stopped")
  local rejected = {}
  for _, letter in ipairs(one:dead_letters(stopped.rejected)) do
    rejected[letter.properties.message_id] = true
  end
  local published = {}
  for i, message in ipairs(assert(one.connection:drain(out))) do
    published[i] = { message.exchange, message.routing_key, message.body, message.properties }
  end
  return { acked = stopped.acked, rejected = stopped.rejected, ids = rejected, published = published,
    lines = lines_of_log(result.logs) }
end

local function through_replay(one, messages)
  local ndjson = {}
  for i, message in ipairs(messages) do ndjson[i] = cjson.encode(message.given) end
  one.space:write("messages.ndjson", table.concat(ndjson, "\n"))
  local argv = { "replay", "handler.lua", "messages.ndjson", "--json", unpack(FLAGS) }
  argv[#argv + 1] = { cwd = one.space.path }
  local result = moonrabbit.run(unpack(argv))
  assert.equal(0, result.code)
  return cjson.decode(result.out), lines_of_log(result.logs)
end

local SPEC = [[
  local cjson = require "cjson"
  it("delivers", function()
    local worker = require("moonrabbit.test").worker("handler.lua",
      { retry = { attempts = 1 }, limits = { memory = "8MiB" } })
    local out = io.open("results.ndjson", "w")
    for line in io.lines("messages.ndjson") do
      out:write(cjson.encode(worker:deliver(cjson.decode(line))), "\n")
    end
    out:close()
    worker:close()
  end)
]]

local function through_test(one)
  one.space:write("spec/parity_spec.lua", SPEC)
  local result = moonrabbit.run("test", { cwd = one.space.path })
  assert.equal("", result.err)
  assert.equal(0, result.code)
  local results = {}
  for line in io.lines(one.space.path .. "/results.ndjson") do results[#results + 1] = cjson.decode(line) end
  return results
end

describe("a handler on trial", function()
  after_each(cleanup)

  it("comes to what it comes to behind a broker", function()
    local one = scene.new(HANDLER)
    out = rabbit.queue "published"
    local messages, rejected, lines = {}, {}, {}
    for i = 1, COUNT do
      local given, bytes = message_of(i)
      messages[i] = { given = given, bytes = bytes }
    end
    local behind_broker = through_broker(one, messages)
    local report, lines_of_replay = through_replay(one, messages)
    local published = {}
    local verdicts = { ack = 0, retry = 0, requeue = 0, reject = 0, error = 0 }
    for i, result in ipairs(through_test(one)) do
      verdicts[result.verdict] = verdicts[result.verdict] + 1
      if result.settlement == "reject" then rejected[messages[i].given.id] = true end
      for _, line in ipairs(result.logs) do add_line(lines, line.fields) end
      for _, message in ipairs(result.published) do
        published[#published + 1] =
          { message.exchange, message.routing_key, message.body, message.properties }
      end
    end
    assert.same(behind_broker.ids, rejected)
    assert.same(behind_broker.lines, lines)
    assert.same(behind_broker.lines, lines_of_replay)
    assert.same({ ack = behind_broker.acked, retry = 0, requeue = 0, reject = behind_broker.rejected },
      report.settlements)
    assert.same(behind_broker.published, published)
    assert.same({ #published, 2 * verdicts.ack }, { report.published, #published })
    assert.same(verdicts, report.verdicts)
    assert.equal(COUNT, behind_broker.acked + behind_broker.rejected)
    for verdict, count in pairs(verdicts) do assert.is_true(count > 0, verdict) end
  end)
end)
