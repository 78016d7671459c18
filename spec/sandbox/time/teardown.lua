-- Tries: to spin in teardown when its message was ended, and when the program ends.
-- Expect: out of memory
-- Limits: memory=4MiB deadline=2s
local attack = require "attack"

return {
  teardown = function() while true do end end,
  handle = attack(function()
    local all = {}
    while true do all[#all + 1] = {} end
  end),
}
