-- Tries: to loop in C through tables that are each other's __index.
-- Expect: failed: loop in
local attack = require "attack"

return attack(function()
  local loop = {}
  loop.__index = setmetatable(loop, loop)
  return loop.x
end)
