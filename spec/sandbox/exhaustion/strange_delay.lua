-- Tries: to be tried again after a time that is none.
-- Expect: failed: returned
local attack = require "attack"

return attack(function() return "retry", 0 / 0 end)
