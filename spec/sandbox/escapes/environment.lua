-- Tries: to get at the real globals by an environment of its own, and by compiled code.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local env = setmetatable({}, { __index = _G })
  assert(load("return io, debug, getfenv, _G.io", "=x", "t", env)() == nil)
  assert(load("return _G", "=x", "t", false)() == _G and load("return _G", "=x", "t", nil)() == _G)
  local seen = load("x = 1 return x", "=x", "t", env)()
  assert(seen == 1 and env.x == 1 and _G.x == nil)
end)
