-- Tries: to loop in the comparator of a sort.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end
end)
