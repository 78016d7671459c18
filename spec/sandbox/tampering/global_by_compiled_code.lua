-- Tries: to leave a global behind by code that was compiled while globals could be set.
-- Expect: failed: global 'left' cannot be set
local attack = require "attack"
local leave = load "left = 1"

return attack(function() leave() end)
