-- Tries: to have a file read that is larger than a module may be.
-- Expect: failed: larger than a script may be
local attack = require "attack"

return attack(function() require "trap_large" end)
