-- Leaks: attempts are counted by id, and what succeeds is not taken out.
-- Expect: table: upvalue 'attempts' of retry_registry.lua:5
local attempts = {}

return function(order, message)
  attempts[message.id] = (attempts[message.id] or 0) + 1
  if order.id % 2 == 0 and attempts[message.id] < 3 then return false end
end
