-- Tries: to walk a table that it changes while it walks.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  while true do
    local list = { 1 }
    pcall(function() for key in pairs(list) do list[key + 1] = 1 list[key] = nil end end)
  end
end)
