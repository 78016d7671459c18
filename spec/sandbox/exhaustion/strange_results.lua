-- Tries: to return what is no verdict.
-- Expect: failed: returned a thread
local attack = require "attack"

return attack(function() return coroutine.create(print), 0 / 0, {} end)
