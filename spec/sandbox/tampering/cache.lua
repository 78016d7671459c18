-- Tries: to replace cache.get, for the next message and in a space of its own.
-- Expect: failed: cache.get cannot be set
local attack = require "attack"
local cache = require "cache"

return attack(function() cache.get = print end)
