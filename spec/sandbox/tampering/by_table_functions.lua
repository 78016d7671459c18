-- Tries: to write into libraries by the functions of table.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, target in ipairs { string, math, _G, require "log" } do
    assert(not pcall(table.insert, target, 1) and not pcall(table.insert, target, 1, 1))
    assert(not pcall(table.remove, target) and not pcall(table.sort, target, error))
    assert(not pcall(table.move, { 1 }, 1, 1, 1, target) and not pcall(table.move, target, 1, 1, 2))
    assert(not pcall(rawset, target, 1, 1) and target[1] == nil)
  end
end)
