-- Tries: to sort for ever by a comparator that is wrong, and catches everything.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local list = {}
  for i = 1, 1e5 do list[i] = i % 3 end
  while true do pcall(table.sort, list, function(a, b) return a <= b end) end
end)
