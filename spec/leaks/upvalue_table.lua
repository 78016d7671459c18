-- Leaks: what was seen, by id. The first of all leaks.
-- Expect: table: upvalue 'seen' of upvalue_table.lua:6
local log = require "log"
local seen = {}

return function(order, message)
  if seen[message.id] then return true end
  seen[message.id] = true
  log.debug("order", { id = order.id })
end
