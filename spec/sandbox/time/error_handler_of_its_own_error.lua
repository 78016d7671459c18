-- Tries: to be in the error handler of an error of its own when its time is over.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  while true do
    xpcall(error, function() while true do load "return 1" () end end)
  end
end)
