-- Tries: to fail with nil.
-- Expect: failed: error value is nil
local attack = require "attack"

return attack(function() error() end)
