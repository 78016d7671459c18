-- A queue with one for dead letters behind it, a handler written in the spec, and a program that settles so
-- many messages and ends: what specs about single messages and their handling begin with.
--
-- Handlers can require "describe", which puts any value into words: true, 12.5, "text", {a: 1, b: {1: 2}}.
-- Bytes outside of printable ASCII are written \xNN, keys are in order.
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local PATIENCE_SECONDS = 120 -- longer than any slow machine takes: only a hang reaches it

local DESCRIBE = [[
  local null = require "cjson".null
  local describe

  local function of_table(value)
    local words = {}
    for key, item in pairs(value) do
      words[#words + 1] = tostring(key) .. ": " .. describe(item)
    end
    table.sort(words)
    return "{" .. table.concat(words, ", ") .. "}"
  end

  function describe(value)
    if value == null then
      return "null"
    elseif type(value) == "table" then
      return of_table(value)
    elseif type(value) == "number" then
      return ("%.17g"):format(value)
    elseif type(value) == "string" then
      return '"' .. value:gsub("[^ -~]", function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
    end
    return tostring(value)
  end

  return describe
]]

local scene = {}

local Scene = {}
Scene.__index = Scene

---@param handler string|table<string, string> Lua: of handler.lua, or of each file by its name
---@param options? { queue?: table } of the queue, as rabbit.queue takes them
---@return table scene
function scene.new(handler, options)
  local self = setmetatable({ space = workspace.new(), connection = assert(rabbit.connect()) }, Scene)
  self.space:write("describe.lua", DESCRIBE)
  for name, text in pairs(type(handler) == "table" and handler or { ["handler.lua"] = handler }) do
    self.space:write(name, text)
  end
  self.dead = rabbit.queue "dead"
  self.queue = rabbit.queue("scene", options and options.queue or { arguments = {
    ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = self.dead,
  } })
  assert(self.connection:confirm_select())
  return self
end

---Puts one message into the queue; it is there when this returns.
---@param body string
---@param properties? table
function Scene:publish(body, properties)
  assert(self.connection:publish("", self.queue, body, properties))
end

local function arguments_of(self, ...)
  local all = { "run", "handler.lua", "--queue", self.queue, "--broker", rabbit.url, ... }
  -- In the environment, where a flag goes before it.
  local environment = { MOONRABBIT_RETRY_DELAY = "10ms" }
  all[#all + 1] = { cwd = self.space.path, timeout = PATIENCE_SECONDS, env = environment }
  return unpack(all)
end

---Starts the program, with further arguments of its command line, and waits until it consumes.
---@vararg string
---@return table program
function Scene:start(...)
  local program = moonrabbit.start(arguments_of(self, ...))
  assert(program:wait_log({ msg = "consuming", consumer_tag = function() return true end },
    { timeout = PATIENCE_SECONDS }))
  return program
end

---Runs the program until so many messages are settled; raises an error where it does not end in order.
---@param count integer
---@vararg string further arguments of its command line
---@return table result of moonrabbit.run
function Scene:settle(count, ...)
  local result = moonrabbit.run(arguments_of(self, "--max-messages", tostring(count), ...))
  if result.code ~= 0 then
    error(("the program ended with %s: %s"):format(tostring(result.code or result.signal),
      result.err:sub(-2000)), 2)
  end
  return result
end

---Waits until so many messages are in the dead letter queue: the broker moves them in its own time.
---@param count integer
---@return table[] messages the queue is empty then
function Scene:dead_letters(count)
  local messages = {}
  assert(rabbit.eventually(function()
    for _, message in ipairs(assert(self.connection:drain(self.dead))) do
      messages[#messages + 1] = message
    end
    return #messages >= count, #messages .. " dead letters"
  end))
  return messages
end

---@return integer messages in the queue
function Scene:waiting()
  return assert(rabbit.queue_info(self.queue)).messages
end

---@param lines table[] of a log
---@param msg string the whole text
---@return table[] found
function scene.find_all(lines, msg)
  local found = {}
  for _, line in ipairs(lines) do
    found[#found + 1] = line.msg == msg and line or nil
  end
  return found
end

---The one line with that text; raises an error where there is none, or more than one.
---@param lines table[] of a log
---@param msg string the whole text
---@return table line
function scene.find(lines, msg)
  local found = scene.find_all(lines, msg)
  if #found ~= 1 then
    local said = {}
    for _, line in ipairs(lines) do said[#said + 1] = line.msg or line.raw end
    error(("the log has %d lines %q, and not one: %s"):format(#found, msg, table.concat(said, " | ")), 2)
  end
  return found[1]
end

return scene
