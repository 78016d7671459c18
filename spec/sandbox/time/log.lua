-- Tries: to write to the log until its time is over.
-- Expect: compiled
local attack = require "attack"

return attack(function()
  local log = require "log"
  while true do log.debug "not written" end
end)
