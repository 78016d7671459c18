-- Tries: to loop in a coroutine.
-- Expect: ended
local attack = require "attack"

return attack(function() coroutine.wrap(function() while true do end end)() end)
