-- Tries: to have a string made that is longer than any string can be, and a table for as many values.
-- Expect: acked
local attack = require "attack"

return attack(function()
  assert(not pcall(string.rep, "x", 2 ^ 31 - 1) and not pcall(string.rep, ("x"):rep(1000), 2 ^ 31 - 1))
  assert(not pcall(unpack, {}, 1, 2 ^ 31 - 2) and not pcall(unpack, {}, -2 ^ 31, 2 ^ 31 - 1))
  assert(not pcall(string.byte, ("x"):rep(1e6), 1, -1))
end)
