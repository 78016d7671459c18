-- Tries: to have table.concat make what does not fit.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local text, all = ("x"):rep(1e5), {}
  for i = 1, 5000 do all[i] = text end
  return #table.concat(all, ",")
end)
