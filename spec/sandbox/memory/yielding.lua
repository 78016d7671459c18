-- Tries: to fill memory piece by piece, each in a coroutine that yields across pcall.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  local step = coroutine.wrap(function()
    while true do pcall(function() coroutine.yield() all[#all + 1] = ("x"):rep(1e4) .. #all end) end
  end)
  while true do step() end
end)
