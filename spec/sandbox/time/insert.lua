-- Tries: to have table.insert move two thousand million places, in C.
-- Expect: killed
local attack = require "attack"

return attack(function() table.insert({}, -2 ^ 31, 1) end)
