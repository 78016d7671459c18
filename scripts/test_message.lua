-- Messages as people write them, in specs and in files for `replay`, made into what a worker on trial takes:
-- its body is a string then. A body that is no string is sent as JSON, and its content type says so.
local cjson = require "cjson"

local M = {}

local DIGITS = {}
for i, digit in ipairs { ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(1, 64) } do
  DIGITS[digit] = i - 1
end

---Base64 (RFC 4648, blanks and newlines left out) as bytes; nil where it is none.
function M.from_base64(text)
  text = text:gsub("%s", ""):gsub("=+$", "")
  local bytes, bits, have = {}, 0, 0
  for at = 1, #text do
    local digit = DIGITS[text:byte(at)]
    if not digit then return nil end
    bits, have = bits * 64 + digit, have + 6
    if have >= 8 then
      local rest = 2 ^ (have - 8)
      bytes[#bytes + 1] = string.char(math.floor(bits / rest))
      bits, have = bits % rest, have - 8
    end
  end
  if have >= 6 or bits ~= 0 then return nil end
  return table.concat(bytes)
end

local function body_of(given)
  if given.body_base64 ~= nil then
    if given.body ~= nil then error("give body or body_base64, not both", 0) end
    local bytes = type(given.body_base64) == "string" and M.from_base64(given.body_base64)
    return bytes or error("body_base64 is no base64", 0)
  end
  if given.body == nil then return "" end
  if type(given.body) == "string" then return given.body end
  return cjson.encode(given.body), "application/json"
end

---Raises what is wrong with the message, without a position.
function M.complete(given)
  if type(given) == "string" then given = { body = given } end
  if type(given) ~= "table" then error(("a message is a %s: give a table"):format(type(given)), 0) end
  local message = {}
  for name, value in pairs(given) do
    -- JSON has null where others leave out; a field is never null itself.
    if name ~= "body_base64" and value ~= cjson.null then message[name] = value end
  end
  local content_type
  message.body, content_type = body_of(given)
  message.content_type = message.content_type or content_type
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
