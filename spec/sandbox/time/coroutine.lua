-- Tries: to loop in a coroutine.
-- Expect: compiled
local attack = require "attack"

return attack(function() coroutine.wrap(function() while true do end end)() end)
