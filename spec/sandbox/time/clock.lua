-- Tries: to loop through a C function that a trace calls, and that no hook interrupts.
-- Expect: compiled
local attack = require "attack"

return attack(function() while true do os.clock() end end)
