-- Tries: to have gsub blow a text up.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local text = ("x"):rep(1000)
  return #text:gsub(".", ("%0"):rep(1000)):gsub(".", text)
end)
