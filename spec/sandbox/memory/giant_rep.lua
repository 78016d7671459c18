-- Tries: to have one string made that is larger than all memory.
-- Expect: out of memory
local attack = require "attack"

return attack(function() return #("x"):rep(1e9) end)
