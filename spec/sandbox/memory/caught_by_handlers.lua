-- Tries: to go on in the error handlers of xpcall, which run where the error was raised.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  local function fill() while true do all[#all + 1] = { #all } end end
  while true do
    xpcall(fill, function() xpcall(fill, fill) fill() end)
  end
end)
