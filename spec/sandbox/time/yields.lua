-- Tries: to go back and forth between two coroutines for ever.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local other = coroutine.wrap(function() while true do pcall(coroutine.yield) end end)
  while true do other() end
end)
