-- Tries: to hand on more arguments than fit.
-- Expect: failed: stack overflow
local attack = require "attack"

return attack(function()
  local function more(...) return more(1, ...) end
  return more()
end)
