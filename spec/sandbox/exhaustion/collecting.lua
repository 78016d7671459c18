-- Tries: to stop the collector, or to have it run for ever.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, what in ipairs { "stop", "restart", "collect", "step", "setpause", "setstepmul", "isrunning", 1,
    {}, true } do
    assert(not pcall(collectgarbage, what))
  end
  assert(not pcall(collectgarbage) and collectgarbage "count" > 0)
end)
