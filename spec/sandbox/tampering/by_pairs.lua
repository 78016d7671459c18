-- Tries: to reach the libraries' contents through what pairs, next and table.foreach walk.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local _, members = pairs(string)
  members.format = print
  assert(string.format ~= print and next(string) == nil and #string == 0)
  table.foreach(math, error)
  for name, value in pairs(_G) do
    assert(_G[name] == value)
  end
  local _, globals = pairs(_G)
  globals.pcall = error
  assert(pcall(type, 1))
end)
