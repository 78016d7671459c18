-- Tries: to loop in the callbacks of gsub.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  while true do pcall(string.gsub, "xx", "x", function() while true do end end) end
end)
