-- Tries: to be called by the globals' own metatable.
-- Expect: acked
local attack = require "attack"

__index, __newindex, __metatable = print, print, "mine"

return attack(function()
  assert(getmetatable(_G) == "read only" and nothing == nil)
  assert(not pcall(function() anything = 1 end))
  assert(rawget(_G, "__index") == print and not pcall(rawset, _G, "__index", nil))
end)
