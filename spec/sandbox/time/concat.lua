-- Tries: to join a long list again and again, in C.
-- Expect: ended
local attack = require "attack"

return attack(function()
  local list = {}
  for i = 1, 1e5 do list[i] = "xxxxxxxxxx" end
  while true do table.concat(list) end
end)
