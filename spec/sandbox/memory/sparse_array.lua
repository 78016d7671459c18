-- Tries: to have a table's array part made for a place far away.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local list = {}
  for power = 1, 52 do list[2 ^ power] = true end
  list[1e300], list[-1e300], list[2 ^ 31 - 1], list[-2 ^ 31] = 1, 1, 1, 1
  assert(#list <= 2 ^ 31 and not pcall(rawset, list, 0 / 0, 1))
end)
