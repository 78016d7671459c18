-- Tries: to run bytecode by a module.
-- Expect: failed: trap_bytecode.lua is bytecode: only Lua text is loaded
local attack = require "attack"

return attack(function() return "reject", require "trap_bytecode" () end)
