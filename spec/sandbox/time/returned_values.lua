-- Tries: to run code when its results and its error are looked at.
-- Expect: failed: returned a table
local attack = require "attack"

return attack(function()
  local function spin() while true do end end
  local trap = setmetatable({}, { __index = spin, __tostring = spin, __len = spin, __eq = spin, __call = spin,
    __concat = spin, __metatable = spin })
  return trap, trap, trap
end)
