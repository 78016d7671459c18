-- Tries: to replace math.random.
-- Expect: failed: math.random cannot be set
local attack = require "attack"

return attack(function() math.random = function() return 4 end end)
