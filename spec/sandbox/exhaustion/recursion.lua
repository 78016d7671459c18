-- Tries: to recurse without end.
-- Expect: failed: stack overflow
local attack = require "attack"

return attack(function()
  local function deeper(n) return 1 + deeper(n + 1) end
  return deeper(1)
end)
