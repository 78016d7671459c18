-- Tries: to drown everything else in lines of the log.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local log = require "log"
  for i = 1, 2000 do log.info("flood", { i = i }) end
end)
