-- Tries: to catch its end, and to loop on.
-- Expect: compiled
local attack = require "attack"

return attack(function() while true do pcall(function() while true do end end) end end)
