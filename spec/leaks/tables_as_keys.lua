-- Leaks: a set of tables.
-- Expect: table: upvalue 'set' of tables_as_keys.lua:5
local set = {}

return function(order)
  set[order] = true
end
