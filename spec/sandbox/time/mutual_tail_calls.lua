-- Tries: to have two functions call each other for ever, through pcall.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local ping, pong
  function ping(n) return pong(n + 1) end
  function pong(n) return ping(n - 1) end
  while true do pcall(ping, 1) end
end)
