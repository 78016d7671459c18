-- Tries: to fill memory with tables.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  while true do all[#all + 1] = { #all } end
end)
