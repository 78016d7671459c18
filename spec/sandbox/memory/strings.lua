-- Tries: to fill memory with a string that doubles.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local text = "x"
  while true do text = text .. text end
end)
