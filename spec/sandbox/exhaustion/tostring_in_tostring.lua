-- Tries: the same by __tostring, through string.format.
-- Expect: failed
-- Limits: memory=512MiB
local attack = require "attack"

return attack(function()
  local value = setmetatable({}, {})
  getmetatable(value).__tostring = function() return ("%s"):format(value) end
  return tostring(value)
end)
