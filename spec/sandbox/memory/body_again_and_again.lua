-- Tries: to fill memory with copies of the message, which C makes.
-- Expect: acked
local attack = require "attack"

return attack(function(_, message)
  local bodies = {}
  for i = 1, 1e5 do bodies[i] = message.body .. "" end
  for i = 1, 1e5 do bodies[i] = message.headers end
end)
