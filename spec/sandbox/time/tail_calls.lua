-- Tries: to call itself for ever without a loop.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local function again(n) return again(n + 1) end
  return again(1)
end)
