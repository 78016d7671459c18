-- Tries: to change the message that it has.
-- Expect: failed: message.id cannot be set: a message is read only
local attack = require "attack"

return attack(function(_, message) message.id = "1" end)
