-- Tries: to return thousands of values.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local all = {}
  for i = 1, 7000 do all[i] = true end
  return unpack(all)
end)
