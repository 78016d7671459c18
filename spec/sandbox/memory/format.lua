-- Tries: to have string.format make what does not fit.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local text = ("x"):rep(1e6)
  local all = {}
  for i = 1, 100 do all[i] = text end
  return #(("%s"):rep(100)):format(unpack(all))
end)
