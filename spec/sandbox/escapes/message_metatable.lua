-- Tries: to hand the message's functions something that is no message.
-- Expect: acked
local attack = require "attack"

return attack(function(_, message)
  assert(not pcall(rawget, message, "body") and not pcall(rawset, message, "body", "x"))
  assert(not pcall(next, message) and not pcall(ipairs, message) and not pcall(unpack, message))
  assert(not pcall(function() return #message end) and not pcall(function() return message() end))
  assert(not pcall(function() return message .. "" end) and not pcall(function() return message + 1 end))
  local copy = setmetatable({}, { __index = message })
  assert(copy.id == "attack" and not pcall(function() message.id = "other" end))
  for _, key in pairs { 1, true, {}, print, 0 / 1, "__index", "__gc", "\0", ("x"):rep(1e5) } do
    assert(message[key] == nil)
  end
end)
