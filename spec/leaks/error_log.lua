-- Leaks: a line for each order that fails, which one in twenty does.
-- Expect: array: upvalue 'errors' of error_log.lua:5
local errors = {}

return function(order)
  if order.id % 20 == 0 then
    errors[#errors + 1] = { id = order.id, text = "order " .. order.id .. " has failed" }
    return false
  end
end
