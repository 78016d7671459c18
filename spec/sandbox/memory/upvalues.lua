-- Tries: to keep what it allocates in an upvalue until later messages have no room.
-- Expect: out of memory
local attack = require "attack"
local kept = {}

return attack(function()
  for i = 1, 1e6 do kept[#kept + 1] = ("%d"):format(i):rep(100) end
end)
