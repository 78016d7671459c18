-- Tries: to read a file.
-- Expect: failed: attempt to index global 'io'
local attack = require "attack"

return attack(function() return "reject", io.open("/etc/passwd"):read "*a" end)
