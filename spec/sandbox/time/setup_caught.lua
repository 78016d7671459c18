-- Tries: to catch its end in setup.
-- Expect: not loaded: setup of
-- Limits: deadline=300ms grace=10s
local attack = require "attack"

return {
  setup = function() while true do pcall(load "return 1") end end,
  handle = attack(function() end),
}
