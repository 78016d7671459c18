-- Tries: to loop in __index.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local endless = setmetatable({}, { __index = function() while true do end end })
  while true do pcall(function() return endless.x end) end
end)
