-- Tries: to loop in the metamethods of operators, one after the other.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local function spin() while true do load "return 1" () end end
  local value = setmetatable({}, { __add = spin, __concat = spin, __eq = spin, __lt = spin, __le = spin,
    __call = spin, __unm = spin, __newindex = spin, __tostring = spin, __len = spin })
  pcall(function() return value + 1 end)
  pcall(function() return value .. "x" end)
  pcall(function() return value < value end)
  pcall(function() return value() end)
  pcall(function() value.x = 1 end)
  pcall(tostring, value)
  pcall(string.format, "%s", value)
  pcall(print, value)
end)
