-- Tries: to recurse in C through __index.
-- Expect: failed: stack overflow
local attack = require "attack"

return attack(function()
  local chain = setmetatable({}, {})
  getmetatable(chain).__index = function(table, key) return table[key] end
  return chain.x
end)
