-- Tries: to be rejected for a reason that is none.
-- Expect: rejected: a table
local attack = require "attack"

return attack(function() return "reject", {} end)
