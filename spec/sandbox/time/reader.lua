-- Tries: to hand load a chunk without end.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  load(function()
    load "return 1" ()
    return " "
  end)
  return true
end)
