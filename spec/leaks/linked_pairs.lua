-- Leaks: the same, of tables without names in them.
-- Expect: nested tables: upvalue 'history' of linked_pairs.lua:5
local history = {}

return function(order)
  history = { order.id, history }
end
