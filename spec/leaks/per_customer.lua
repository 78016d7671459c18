-- Leaks: a list for each of few customers, every one of them longer and longer. Told is what holds them.
-- Expect: nested tables: upvalue 'orders' of per_customer.lua:5
local orders = {}

return function(order)
  local customer = "customer " .. order.id % 50
  orders[customer] = orders[customer] or {}
  table.insert(orders[customer], order.id)
end
