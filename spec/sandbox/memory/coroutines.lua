-- Tries: to fill memory with coroutines that wait.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  while true do
    local waiting = coroutine.wrap(function() coroutine.yield() end)
    waiting()
    all[#all + 1] = waiting
  end
end)
