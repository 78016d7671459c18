-- Tries: to have a coroutine meet the end, and another after it.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  while true do
    coroutine.resume(coroutine.create(function() while true do all[#all + 1] = { #all } end end))
  end
end)
