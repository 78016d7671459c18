-- Trap 4: a handler that waits for what never comes. Elsewhere it holds its message, its thread and its place
-- in the prefetch until somebody restarts the consumer; heartbeats stop, or hide it.
--
-- Here each message has `limits.deadline`: it is ended at its next line, or its worker killed after
-- `limits.grace`, it counts an attempt, and the next message is handled. The host's heartbeats go on
-- meanwhile.
local cache = require "cache"

return function(order)
  repeat until cache.get("payment of " .. order.id)
end
