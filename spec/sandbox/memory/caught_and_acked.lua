-- Tries: to catch what ends it, to let everything go and to be acked.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  pcall(function()
    local all = {}
    while true do all[#all + 1] = { #all } end
  end)
  return true
end)
