-- Tries: to catch its end and to be acked all the same.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  pcall(function() while true do load "return 1" () end end)
  return true
end)
