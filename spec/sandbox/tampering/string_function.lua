-- Tries: to replace string.format.
-- Expect: failed: string.format cannot be set: libraries are read only
local attack = require "attack"

return attack(function() string.format = function() return "mine" end end)
