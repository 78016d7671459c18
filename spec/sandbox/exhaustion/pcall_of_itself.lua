-- Tries: to have pcall call itself, as __call and by what else calls a metamethod, past the end of the
-- stack.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, call in ipairs { pcall, xpcall, coroutine.wrap(pcall), select, unpack, next } do
    local value = setmetatable({}, { __call = call, __index = call, __tostring = call, __eq = call,
      __lt = call, __concat = call, __add = call, __newindex = call, __unm = call })
    for _, use in ipairs { value, pcall, tostring, function() return value.x end,
      function() return value + 1 end, function() return value .. value end,
      function() value.x = value end, function() return -value end } do
      pcall(use, value, value)
      pcall(pcall, use, value)
    end
    pcall(tostring, value)
  end
end)
