-- Tries: to run code when its error is told.
-- Expect: failed: error value is a table
local attack = require "attack"

return attack(function()
  local function spin() while true do end end
  error(setmetatable({}, { __index = spin, __tostring = spin, __len = spin, __eq = spin, __concat = spin }))
end)
