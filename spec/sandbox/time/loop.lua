-- Tries: to loop for ever, compiled.
-- Expect: compiled
local attack = require "attack"

return attack(function() while true do end end)
