-- Tries: to set a method of all strings through one of them.
-- Expect: failed: attempt to index
local attack = require "attack"

return attack(function() ("x").format = print end)
