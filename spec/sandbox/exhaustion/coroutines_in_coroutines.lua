-- Tries: the same by coroutines, each of which has a Lua stack of its own.
-- Expect: failed: nested too deeply
-- Limits: memory=512MiB
local attack = require "attack"

return attack(function()
  local function deeper() return coroutine.wrap(deeper)() end
  return deeper()
end)
