-- Leaks: the prices that a module remembers in a table that it shows.
-- Expect: table: module shop.prices .memo
local prices = require "shop.prices"

return function(order)
  assert(prices.of("item-" .. order.id) > 0)
end
