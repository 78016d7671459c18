-- Trap 6: a table of what is under way, out of which nothing is taken where an order fails.
--
-- Here the table is gone with its Lua state, after `recycle.messages` messages, or when `recycle.memory` is
-- reached; and the log names it:
--
--     msg="this grows with every message" leak="upvalue 'open' of registry.lua:16, table, 2500 entries,
--     +0.25 per message, +14 bytes per message" sample="order 4, order 8, …"
local log = require "log"

local open = {}

local function pay(order)
  if order.id % 4 == 0 then error("the bank does not answer", 0) end
end

return function(order)
  local name = "order " .. order.id
  if open[name] then log.info("tried again", { order = order.id }) end
  open[name] = true
  pay(order)
  open[name] = nil
end
