-- Tries: to read a file while it is being loaded.
-- Expect: not loaded: attempt to index global 'io'
local attack = require "attack"
local text = io.open("/etc/passwd"):read "*a"

return attack(function() return "reject", text end)
