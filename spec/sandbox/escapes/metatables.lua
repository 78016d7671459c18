-- Tries: to get at the metatables of strings, libraries, globals, messages, null and functions.
-- Expect: acked
local attack = require "attack"

return attack(function(_, message)
  local null = require "cjson".null
  for _, value in pairs { "", string, _G, message, math, require "log", require "memory" } do
    assert(getmetatable(value) == "read only", type(value))
    assert(not pcall(setmetatable, value, {}))
  end
  for _, value in pairs { null, print, true, 1, coroutine.create(print) } do
    assert(getmetatable(value) == nil)
    assert(not pcall(setmetatable, value, {}))
  end
end)
