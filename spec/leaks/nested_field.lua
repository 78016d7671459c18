-- Leaks: deep in a table of counters, of which the others have few keys.
-- Expect: table: upvalue 'metrics' of nested_field.lua:5 .by.customer
local metrics = { total = 0, by = { country = {}, customer = {} } }

return function(order)
  metrics.total = metrics.total + 1
  local country = ({ "de", "fr", "it" })[order.id % 3 + 1]
  metrics.by.country[country] = (metrics.by.country[country] or 0) + 1
  local customer = "c" .. order.id
  metrics.by.customer[customer] = (metrics.by.customer[customer] or 0) + 1
end
