-- Messages as people write them, in specs and in files for `replay`, made into what a worker on trial takes:
-- its body is a string then. A body that is no string is sent as JSON, and its content type says so.
local cjson = require "cjson"
local host = require "moonrabbit.host"

local M = {}

-- A field whose bytes are no text is given as base64, under its name with this behind it.
local BASE64 = "_base64"

local function take_base64(message, given, name, bare)
  local text, other = given[name], given[bare]
  if other ~= nil and other ~= cjson.null then error(("give %s or %s, not both"):format(bare, name), 0) end
  local bytes = type(text) == "string" and host.from_base64(text) or error(name .. " is no base64", 0)
  message[bare == "headers" and "encoded_headers" or bare] = bytes
end

-- The fields without null, which JSON has where others leave out, and without base64. Headers given so are an
-- AMQP table in its own encoding.
local function read_fields(given)
  local message = {}
  for name, value in pairs(given) do
    local bare = type(name) == "string" and name:match("^(.*)" .. BASE64 .. "$")
    if value ~= cjson.null and bare then
      take_base64(message, given, name, bare)
    elseif value ~= cjson.null then
      message[name] = value
    end
  end
  return message
end

local function body_of(body)
  if body == nil then return "" end
  if type(body) == "string" then return body end
  return cjson.encode(body), "application/json"
end

---Raises what is wrong with the message, without a position.
function M.complete(given)
  if type(given) == "string" then given = { body = given } end
  if type(given) ~= "table" then error(("a message is a %s: give a table"):format(type(given)), 0) end
  local message = read_fields(given)
  local body, content_type = body_of(message.body)
  message.body, message.content_type = body, message.content_type or content_type
  message.attempt = message.attempt or (message.redelivered and 2 or 1)
  if message.redelivered == nil and type(message.attempt) == "number" then
    message.redelivered = message.attempt > 1
  end
  return message
end

---Splits an outcome's text: a handler's reason, or the error in its first line and where it came from.
function M.explain(outcome)
  local text = outcome.text
  outcome.text = nil
  if outcome.verdict == "error" then
    outcome.error = text:match("^[^\n]*")
    outcome.traceback = text:match("\n(.*)$")
  elseif text ~= "" then
    outcome.reason = text
  end
  return outcome
end

return M
