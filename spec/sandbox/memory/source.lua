-- Tries: to have more code compiled than fits.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all, constants = {}, ("{1,'x',a=2},"):rep(100)
  while true do all[#all + 1] = load("local a = {" .. constants .. "} return function() return a end") end
end)
