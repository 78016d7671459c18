-- Leaks: a global that was made while the script was loaded.
-- Expect: table: global 'registry'
registry = {}

return function(order)
  registry["order-" .. order.id] = order
end
