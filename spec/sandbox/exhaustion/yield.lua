-- Tries: to yield out of the handler.
-- Expect: failed: attempt to yield
local attack = require "attack"

return attack(function() coroutine.yield "ack" end)
