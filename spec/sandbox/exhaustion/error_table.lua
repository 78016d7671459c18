-- Tries: to fail with a table that has its text in itself.
-- Expect: failed: the text
local attack = require "attack"

return attack(function() error { message = "the text", msg = {} } end)
