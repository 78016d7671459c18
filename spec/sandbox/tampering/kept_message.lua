-- Tries: to read a message that is over, by keeping it.
-- Expect: failed: this message is over
local attack = require "attack"
local kept

return function(data, message)
  if message.id ~= "attack" then
    kept = kept or message
    return attack(error)(data, message)
  end
  return "reject", kept.body
end
