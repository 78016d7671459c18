-- Tries: to fail with an error as large as its memory.
-- Expect: failed: xxxxxxxx
local attack = require "attack"

return attack(function() error(("x"):rep(3e6), 0) end)
