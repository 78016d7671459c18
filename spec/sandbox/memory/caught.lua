-- Tries: to catch what ends it, and to go on.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  local function fill() while true do all[#all + 1] = ("x"):rep(#all) end end
  while true do pcall(fill) end
end)
