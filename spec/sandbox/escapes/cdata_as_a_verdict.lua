-- Tries: to be settled by a number of 64 bits.
-- Expect: failed: returned a cdata
local attack = require "attack"

return attack(function() return load "return 1ULL"() end)
