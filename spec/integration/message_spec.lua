-- The message object as a handler sees it, from a real queue: every field, what cannot be done to it, how its
-- body is decoded, and its attempts.
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local cleanup = require "support.cleanup"

-- Handlers say `told(name, value)`; the spec looks at the value in words.
local TELL = [[
  local log, describe = require "log", require "describe"
  local function told(name, value) log.info("told " .. name, { value = describe(value) }) end
]]

local function told(result, name)
  return scene.find(result.logs, "told " .. name).value
end

describe("the message object", function()
  after_each(cleanup)

  it("has every field of a message that sets them all", function()
    local one = scene.new(TELL .. [[
      local names = "body id queue exchange routing_key headers content_type content_encoding " ..
        "correlation_id reply_to timestamp priority delivery_mode type app_id user_id expiration " ..
        "redelivered attempt consumer_tag"
      return function(data, message)
        for name in names:gmatch "%S+" do
          told(name, message[name])
          told(name .. "'s type", type(message[name]))
        end
      end
    ]])
    local exchange = one.queue .. "-exchange"
    assert(one.connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    assert(one.connection:bind(one.queue, exchange, "orders.*"))
    assert(one.connection:publish(exchange, "orders.new", '{"id":1}', {
      message_id = "m-1", content_type = "application/json", content_encoding = "identity",
      correlation_id = "c-1", reply_to = "answers", timestamp = 1767225600, priority = 7, delivery_mode = 2,
      type = "order", app_id = "shop", user_id = "guest", expiration = "3600000",
      headers = { tenant = "a", tries = 3 },
    }))
    local result = one:settle(1)
    local expected = {
      body = { '"{\"id\":1}"', "string" }, id = { '"m-1"', "string" },
      queue = { ('"%s"'):format(one.queue), "string" },
      exchange = { ('"%s"'):format(exchange), "string" }, routing_key = { '"orders.new"', "string" },
      headers = { '{tenant: "a", tries: 3}', "table" },
      content_type = { '"application/json"', "string" }, content_encoding = { '"identity"', "string" },
      correlation_id = { '"c-1"', "string" }, reply_to = { '"answers"', "string" },
      timestamp = { "1767225600", "number" }, priority = { "7", "number" }, delivery_mode = { "2", "number" },
      type = { '"order"', "string" }, app_id = { '"shop"', "string" }, user_id = { '"guest"', "string" },
      expiration = { '"3600000"', "string" }, redelivered = { "false", "boolean" },
      attempt = { "1", "number" },
      consumer_tag = { ('"%s"'):format(scene.find(result.logs, "consuming").consumer_tag), "string" },
    }
    for name, case in pairs(expected) do
      assert.same({ name, case[1], '"' .. case[2] .. '"' },
        { name, told(result, name), told(result, name .. "'s type") })
    end
  end)

  it("has no other fields, and nil for those", function()
    local one = scene.new(TELL .. [[
      return function(data, message)
        told("others", { message.nothing == nil, message[1] == nil, message[true] == nil,
          message[message] == nil, message.id == nil })
      end
    ]])
    one:publish ""
    assert.equal("{1: true, 2: true, 3: true, 4: true, 5: true}", told(one:settle(1), "others"))
  end)

  it("cannot be changed, nor looked behind", function()
    local one = scene.new(TELL .. [[
      return function(data, message)
        local function try(name, attempt, ...)
          told(name, select(2, pcall(attempt, ...)))
        end
        try("set", function() message.body = "other" end)
        try("add", function() message.mine = 1 end)
        try("number", function() message[1] = 1 end)
        try("rawset", rawset, message, "body", "other")
        try("rawget", rawget, message, "body")
        try("setmetatable", setmetatable, message, {})
        try("pairs", pairs, message)
        try("next", next, message)
        told("metatable", getmetatable(message))
        told("body", message.body)
      end
    ]])
    one:publish "as it was"
    local result = one:settle(1)
    for name, key in pairs { set = "body", add = "mine", number = "number" } do
      assert.matches("message%." .. key .. " cannot be set: a message is read only; keep your own values",
        told(result, name))
    end
    for name, at in pairs { rawset = 1, rawget = 1, setmetatable = 1, pairs = 1, next = 1 } do
      assert.matches(("bad argument #%d to '.*' %%(table expected, got userdata%%)"):format(at),
        told(result, name))
    end
    assert.equal('"read only"', told(result, "metatable"))
    assert.equal('"as it was"', told(result, "body"))
  end)

  it("is over when its handler has returned: what is kept of it says so", function()
    local one = scene.new(TELL .. [[
      local kept, headers
      return function(data, message)
        if kept then
          told("late", select(2, pcall(function() return kept.body end)))
          told("late nothing", select(2, pcall(function() return kept.nothing end)))
          told("kept headers", headers)
          told("own", { message.body, message.headers })
        end
        kept, headers = message, message.headers
        headers.mine = true
      end
    ]])
    one:publish("first", { headers = { n = 1 } })
    one:publish("second", { headers = { n = 2 } })
    local result = one:settle(2)
    for _, name in ipairs { "late", "late nothing" } do
      assert.matches("this message is over: copy what you need from it before the handler returns",
        told(result, name))
    end
    assert.equal("{mine: true, n: 1}", told(result, "kept headers"))
    assert.equal('{1: "second", 2: {n: 2}}', told(result, "own"))
  end)

  it("counts attempts, and the broker's own mark comes with them", function()
    local one = scene.new(TELL .. [[
      return function(data, message)
        told("attempt " .. message.attempt, message.redelivered)
        return message.attempt < 3 and "requeue" or true
      end
    ]])
    one:publish "again"
    local result = one:settle(3)
    assert.same({ "false", "true", "true" },
      { told(result, "attempt 1"), told(result, "attempt 2"), told(result, "attempt 3") })
    assert.equal(0, one:waiting())
  end)

  it("has a second attempt where another consumer had the message before", function()
    local one = scene.new(TELL .. [[
      return function(data, message) told("again", { message.attempt, message.redelivered }) end
    ]])
    one:publish "again"
    local other = assert(rabbit.connect())
    assert(other:get(one.queue, { ack = false }))
    assert(other:close())
    assert.equal("{1: 2, 2: true}", told(one:settle(1), "again"))
  end)

  it("is the same whatever of AMQP carried it: empty, of one frame, of many", function()
    local one = scene.new(TELL .. [[
      return function(data, message)
        told("body " .. #data, { #message.body, message.body == data, data:sub(1, 2), data:sub(-2) })
      end
    ]])
    local pattern = ("0123456789abcdef"):rep(4096)
    for _, size in ipairs { 0, 1, 131064, 131065, 3 * 2 ^ 20 } do
      one:publish(pattern:rep(math.ceil(size / #pattern)):sub(1, size))
    end
    local result = one:settle(5)
    assert.equal('{1: 0, 2: true, 3: "", 4: ""}', told(result, "body 0"))
    assert.equal('{1: 1, 2: true, 3: "0", 4: "0"}', told(result, "body 1"))
    assert.equal('{1: 131064, 2: true, 3: "01", 4: "67"}', told(result, "body 131064"))
    assert.equal('{1: 131065, 2: true, 3: "01", 4: "78"}', told(result, "body 131065"))
    assert.equal('{1: 3145728, 2: true, 3: "01", 4: "ef"}', told(result, "body 3145728"))
  end)
end)

describe("the first argument of a handler", function()
  local ECHO = TELL .. [[
    return function(data, message)
      told(message.id, { type(data), data })
      told("body " .. message.id, message.body)
    end
  ]]
  local OBJECT = '{"total":1.5}'
  local DECODED, TEXT = '{1: "table", 2: {total: 1.5}}', '{1: "string", 2: "{"total":1.5}"}'

  after_each(cleanup)

  -- Publishes a message of each content type, false for none, and compares what the handler made of it.
  local function assert_decoded(mode, expected)
    local one, count = scene.new(ECHO), 0
    for content_type in pairs(expected) do
      count = count + 1
      one:publish(OBJECT, { message_id = tostring(content_type), content_type = content_type or nil })
    end
    local result = one:settle(count, "--decode", mode)
    for content_type, seen in pairs(expected) do
      assert.same({ content_type, seen }, { content_type, told(result, tostring(content_type)) })
      assert.equal('"' .. OBJECT .. '"', told(result, "body " .. tostring(content_type)))
    end
  end

  it("is what the content type says, with decode = auto", function()
    assert_decoded("auto", {
      ["application/json"] = DECODED,
      ["Application/JSON"] = DECODED,
      ["application/json; charset=utf-8"] = DECODED,
      ["application/json;charset=UTF-8"] = DECODED,
      [" application/json ; charset=utf-8"] = DECODED,
      ["application/vnd.api+json"] = DECODED,
      ["application/vnd.api+json; charset=utf-8"] = DECODED,
      ["application/problem+JSON"] = DECODED,
      ["text/plain"] = TEXT,
      ["text/plain; format=json"] = TEXT,
      ["application/jsonx"] = TEXT,
      ["application/x-json"] = TEXT,
      ["application/octet-stream"] = TEXT,
      ["json"] = TEXT,
      [false] = TEXT,
    })
  end)

  it("is always decoded with decode = json", function()
    assert_decoded("json", { ["application/json"] = DECODED, ["text/plain"] = DECODED, [false] = DECODED })
  end)

  it("is never decoded with decode = raw", function()
    assert_decoded("raw", { ["application/json"] = TEXT, ["text/plain"] = TEXT, [false] = TEXT })
  end)

  it("is any JSON value", function()
    local cases = {
      ["42"] = '{1: "number", 2: 42}', ["-1.5e3"] = '{1: "number", 2: -1500}',
      ["true"] = '{1: "boolean", 2: true}', ["null"] = '{1: "userdata", 2: null}',
      ['"text"'] = '{1: "string", 2: "text"}',
      ['"caf\\u00e9 \\ud83d\\udc07"'] = '{1: "string", 2: "caf\\xc3\\xa9 \\xf0\\x9f\\x90\\x87"}',
      ["[1,[2,null],{}]"] = '{1: "table", 2: {1: 1, 2: {1: 2, 2: null}, 3: {}}}',
      [' {"a" : {"b" : [] } } \n'] = '{1: "table", 2: {a: {b: {}}}}',
      ["9007199254740993"] = '{1: "number", 2: 9007199254740992}',
    }
    local one, bodies = scene.new(ECHO), {}
    for body in pairs(cases) do
      bodies[#bodies + 1] = body
      one:publish(body, { message_id = tostring(#bodies), content_type = "application/json" })
    end
    local result = one:settle(#bodies)
    for i, body in ipairs(bodies) do
      assert.same({ body, cases[body] }, { body, told(result, tostring(i)) })
    end
  end)
end)

describe("a configuration", function()
  after_each(cleanup)

  it("decodes for each consumer as that consumer says", function()
    local one = scene.new(TELL .. "return function(data, message) told(message.queue, type(data)) end")
    local two = rabbit.queue "raw"
    one.space:write("moonrabbit.lua", ([[return {
      broker = { url = %q },
      consumers = {
        { queue = %q, handler = "handler.lua", decode = "json" },
        { queue = %q, handler = "handler.lua", decode = "raw" },
      },
    }]]):format(rabbit.url, one.queue, two))
    one:publish "{}"
    assert(one.connection:publish("", two, "{}", { content_type = "application/json" }))
    local result = moonrabbit.run("run", "--max-messages", "2", { cwd = one.space.path })
    assert.equal(0, result.code, result.err)
    assert.same({ '"table"', '"string"' }, { told(result, one.queue), told(result, two) })
  end)
end)
