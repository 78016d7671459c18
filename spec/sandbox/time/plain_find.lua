-- Tries: to search a long text for another, again and again, in C.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local text, wanted = ("a"):rep(2e6), ("a"):rep(1e6) .. "b"
  while true do text:find(wanted, 1, true) end
end)
