-- Tries: to make long strings and look them up for ever.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local all = {}
  while true do
    for i = 1, 1000 do all[("x"):rep(2000) .. i .. ("y"):rep(2000)] = i end
  end
end)
