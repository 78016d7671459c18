-- Leaks: a local of a module, which only its functions know.
-- Expect: table: upvalue 'stock' of shop/stock.lua:4
local stock = require "shop.stock"

return function(order)
  stock.reserve("item-" .. order.id, 1)
end
