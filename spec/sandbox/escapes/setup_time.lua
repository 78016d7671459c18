-- Tries: to change a library in setup, when globals may still be set.
-- Expect: not loaded: string.format cannot be set
local attack = require "attack"

return {
  setup = function() string.format = print end,
  handle = attack(function() end),
}
