-- Tries: to get a verdict past the worker that is none, by a NUL in a word.
-- Expect: failed: (a string): return true, false,
local attack = require "attack"

return attack(function() return "ack\0", "reject" end)
