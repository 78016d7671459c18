-- Tries: to have table.move move more places than there can be.
-- Expect: compiled
local attack = require "attack"

return attack(function() table.move({}, 1, 2 ^ 52, 2) end)
