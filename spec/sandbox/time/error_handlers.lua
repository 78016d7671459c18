-- Tries: to go on in error handlers, inside of each other.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local function run() while true do load "return 1" () end end
  local function again()
    xpcall(run, again)
    run()
  end
  xpcall(run, again)
end)
