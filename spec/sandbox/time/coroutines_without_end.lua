-- Tries: to begin a coroutine after each that was ended.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  while true do
    coroutine.resume(coroutine.create(function() while true do load "return 1" () end end))
  end
end)
