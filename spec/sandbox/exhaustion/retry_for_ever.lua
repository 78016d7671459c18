-- Tries: to be tried again for ever.
-- Expect: asked too often
local attack = require "attack"

return attack(function() return "requeue" end)
