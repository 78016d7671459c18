-- Tries: to reject with a reason as large as its memory.
-- Expect: rejected: xxxxxxxx
local attack = require "attack"

return attack(function() return "reject", ("x"):rep(3e6) end)
