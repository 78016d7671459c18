-- Tries: to change the metatable of strings.
-- Expect: failed: attempt to index
local attack = require "attack"

return attack(function() getmetatable("").__index = function() return print end end)
