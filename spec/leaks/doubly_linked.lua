-- Leaks: tables that lead to each other both ways, in the variable that holds the last.
-- Expect: linked list: upvalue 'last' of doubly_linked.lua:5
local last = { id = 0 }

return function(order)
  local node = { id = order.id, previous = last }
  last.following = node
  last = node
end
