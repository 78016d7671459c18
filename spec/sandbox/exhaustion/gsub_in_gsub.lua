-- Tries: to use up the native stack by callbacks of gsub inside of each other.
-- Expect: failed
-- Limits: memory=512MiB
local attack = require "attack"

return attack(function()
  local function deeper() return (("x"):gsub("x", deeper)) end
  return deeper()
end)
