-- Tries: to give libraries and globals another metatable.
-- Expect: failed: protected metatable
local attack = require "attack"

return attack(function() setmetatable(_G, { __index = function() return print end }) end)
