-- Leaks: every order, in a list that nobody reads.
-- Expect: array: upvalue 'orders' of array.lua:5
local orders = {}

return function(order)
  orders[#orders + 1] = order
end
