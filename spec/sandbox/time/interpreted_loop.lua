-- Tries: to loop for ever through what is not compiled, and to catch its end each time.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local function again() while true do load "return 1" () end end
  while true do pcall(again) end
end)
