-- Tries: to have cjson write a table that contains itself.
-- Expect: failed: excessive nesting
local attack = require "attack"

return attack(function()
  local self = {}
  self.self = self
  return require "cjson".encode(self)
end)
