-- Tries: to spin in teardown when its state is exchanged, behind a message that was acked.
-- Expect: acked
-- Limits: memory=8MiB deadline=2s
local attack = require "attack"
local kept = {}

return {
  teardown = function() while kept[1] do end end,
  handle = attack(function()
    for i = 1, 65 do kept[i] = ("x"):rep(1e5) .. i end
  end),
}
