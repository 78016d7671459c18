-- Tries: to have a pattern backtrack for ever, in C.
-- Expect: killed
local attack = require "attack"

return attack(function() return ("a"):rep(40):find(("a*"):rep(40) .. "b") end)
