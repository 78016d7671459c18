-- Tries: to count for ever, compiled.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local n = 0
  for i = 1, math.huge do n = n + i % 7 end
  return n
end)
