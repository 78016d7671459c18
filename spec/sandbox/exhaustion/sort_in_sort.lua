-- Tries: the same by comparators.
-- Expect: failed
-- Limits: memory=512MiB
local attack = require "attack"

return attack(function()
  local function deeper()
    table.sort({ 1, 2 }, deeper)
    return true
  end
  return deeper()
end)
