-- Tries: to replace table.insert.
-- Expect: failed: table.insert cannot be set
local attack = require "attack"

return attack(function() table.insert = print end)
