-- Tries: to have string.format quote what grows fourfold.
-- Expect: out of memory
local attack = require "attack"

return attack(function() return #("%q"):format(("\0"):rep(3e6)) end)
