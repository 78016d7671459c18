-- Tries: to fill memory with closures, each holding the one before.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local last = print
  while true do
    local before = last
    last = function() return before end
  end
end)
