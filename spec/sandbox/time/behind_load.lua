-- Tries: to have load catch its end, and to go on where no hook is called any more.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local function spin() while true do load "return 1" () end end
  load(spin)
  while true do pcall(spin) end
end)
