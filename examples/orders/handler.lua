-- Checks every order that comes in. A good one is acked, because the handler returns nothing; a bad one is
-- rejected with the reason. Amounts are in cents.
local log = require "log"

local function sum(items)
  local total = 0
  for _, item in ipairs(items) do
    total = total + item.quantity * item.price
  end
  return total
end

return function(order)
  if not order.total then
    return "reject", "order without a total"
  end
  if not order.items or #order.items == 0 then
    return "reject", "order without items"
  end
  if order.total ~= sum(order.items) then
    return "reject", "total is not the sum of the items"
  end
  log.debug("order accepted", { id = order.id, total = order.total })
end
