-- Leaks: a list that is only ever made longer, at its head.
-- Expect: linked list: upvalue 'head' of linked_list.lua:5
local head

return function(order)
  head = { order = order, next = head }
end
