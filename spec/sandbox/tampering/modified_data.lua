-- Tries: to change the decoded body and the headers for whoever gets the message next.
-- Expect: failed: as planned
local attack = require "attack"

return attack(function(data, message)
  assert(data.stained == nil and message.headers.stained == nil)
  data.stained, message.headers.stained = true, true
  setmetatable(data, { __index = error })
  error "as planned"
end)
