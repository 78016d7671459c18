-- Tries: to make the next message's random numbers its own; they are the script's.
-- Expect: acked
local attack = require "attack"

return attack(function() math.randomseed(0) end)
