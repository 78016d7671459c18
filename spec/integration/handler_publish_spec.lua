-- What a handler publishes, as another program gets it from the broker: properties, headers of every kind,
-- replies, and what setup and teardown send; and that a handler that fails has sent nothing.
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local cleanup = require "support.cleanup"

local sink

-- A handler that knows the queue which everything here is published to.
local function new_scene(handler)
  return scene.new({ ["handler.lua"] = ("local SINK = %q\n"):format(sink) .. handler })
end

local function sunk(one, options)
  return assert(one.connection:drain(sink, options))
end

local function bodies(messages)
  local all = {}
  for _, message in ipairs(messages) do all[#all + 1] = message.body end
  return all
end

describe("what a handler publishes", function()
  before_each(function() sink = rabbit.queue "sink" end)

  after_each(cleanup)

  it("arrives with every property", function()
    local one = new_scene [[
      return function(data, message)
        message:publish("", SINK, { id = 123456789012345 }, {
          content_encoding = "utf-8", priority = 7, correlation_id = "c-1", reply_to = "answers",
          expiration = "1h", message_id = "m-1", timestamp = 1767225600, type = "order", user_id = "guest",
          app_id = "shop",
        })
        message:publish("", SINK, "\0\1\255", { delivery_mode = 1, content_type = "x/y" })
      end
    ]]
    one:publish ""
    one:settle(1)
    local messages = sunk(one)
    assert.same({ '{"id":123456789012345}', "\0\1\255" }, bodies(messages))
    assert.same({
      content_type = "application/json", content_encoding = "utf-8", delivery_mode = 2, priority = 7,
      correlation_id = "c-1", reply_to = "answers", expiration = "3600000", message_id = "m-1",
      timestamp = 1767225600, type = "order", user_id = "guest", app_id = "shop",
    }, messages[1].properties)
    assert.same({ delivery_mode = 1, content_type = "x/y" }, messages[2].properties)
  end)

  it("has headers of every kind, each with its type", function()
    local one = new_scene [[
      return function(data, message)
        message:publish("", SINK, "", { headers = {
          yes = true, whole = -7, large = 2^40, half = 0.5, text = "a\0b", none = require "cjson".null,
          list = { 1, "x" }, deep = { deeper = { deepest = 1 } },
        } })
      end
    ]]
    one:publish ""
    one:settle(1)
    local kinds = {}
    local headers = sunk(one, { fields = true })[1].properties.headers
    for name, field in pairs(headers) do kinds[name] = field.type end
    assert.same({ yes = "t", whole = "I", large = "l", half = "d", text = "S", none = "V", list = "A",
      deep = "F" }, kinds)
  end)

  it("arrives in order, however large", function()
    local one = new_scene [[
      return function(data, message)
        message:publish("", SINK, "first")
        message:publish("", SINK, ("0123456789abcdef"):rep(2^16))
        message:publish("", SINK, "last")
      end
    ]]
    one:publish ""
    one:settle(1)
    local all = bodies(sunk(one))
    assert.same({ "first", ("0123456789abcdef"):rep(2 ^ 16), "last" }, all)
  end)

  it("answers whoever asked", function()
    local one = new_scene [[
      return function(data, message)
        if message.reply_to then return message:reply({ sum = data.a + data.b }) end
        local done, problem = pcall(message.reply, message, "nobody")
        return "reject", problem
      end
    ]]
    local json = "application/json"
    one:publish('{"a":1,"b":2}', { reply_to = sink, correlation_id = "c-7", content_type = json })
    one:publish('{}', { content_type = json })
    local result = one:settle(2)
    local answer = sunk(one)[1]
    assert.equal('{"sum":3}', answer.body)
    assert.equal("c-7", answer.properties.correlation_id)
    local refused = scene.find(result.logs, "message rejected by the handler")
    assert.matches("reply: this message has no reply_to: nobody waits for an answer", refused.reason)
  end)

  it("is nothing where the handler fails", function()
    local one = new_scene [[
      return function(data, message)
        message:publish("", SINK, data .. message.attempt)
        if message.attempt == 1 and data == "error" then error "no" end
        if message.attempt == 1 and data ~= "ack" then return data end
      end
    ]]
    for _, body in ipairs { "error", "retry", "requeue", "reject", "ack" } do one:publish(body) end
    one:settle(8)
    local all = bodies(sunk(one))
    table.sort(all)
    assert.same({ "ack1", "error2", "requeue2", "retry2" }, all)
  end)

  it("does not say how often the message had failed, where its headers are passed on", function()
    local one = new_scene [[
      return function(data, message)
        if message.attempt < 3 then return "retry", "10ms" end
        message:publish("", SINK, message.body, { headers = message.headers })
      end
    ]]
    one:publish("passed on", { headers = { tenant = "a" } })
    one:settle(3)
    assert.same({ tenant = "a" }, sunk(one)[1].properties.headers)
  end)

  it("comes from setup and teardown, too", function()
    local one = new_scene [[
      return {
        setup = function(worker) worker:publish("", SINK, "setup") end,
        handle = function(data, message) message:publish("", SINK, "message") end,
        teardown = function(worker) worker:publish("", SINK, "teardown") end,
      }
    ]]
    one:publish ""
    one:settle(1)
    assert.same({ "setup", "message", "teardown" }, bodies(sunk(one)))
  end)

  it("is not sent by a check, which connects to nothing", function()
    local one = new_scene [[
      return { setup = function(worker) worker:publish("", SINK, "setup") end, handle = function() end }
    ]]
    local result = moonrabbit.run("check", "handler.lua", "--queue", one.queue, "--broker", rabbit.url,
      { cwd = one.space.path })
    assert.same({ 0, "" }, { result.code, result.err })
    assert.same({}, sunk(one))
  end)
end)
