-- Tries: to take pcall away.
-- Expect: failed: global 'pcall' cannot be set
local attack = require "attack"

return attack(function() _G.pcall = nil end)
