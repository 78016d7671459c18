-- Tries: to spin in setup, compiled.
-- Expect: not loaded: ran past limits.deadline and limits.grace
-- Limits: deadline=300ms grace=100ms
local attack = require "attack"

return {
  setup = function() while true do end end,
  handle = attack(function() end),
}
