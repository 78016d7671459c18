-- Tries: to spin in teardown when its state is exchanged.
-- Expect: out of memory
-- Limits: memory=4MiB deadline=1s
local attack = require "attack"

return {
  teardown = function() while true do end end,
  handle = attack(function()
    local all = {}
    while true do all[#all + 1] = {} end
  end),
}
