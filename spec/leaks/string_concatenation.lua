-- Leaks: a string that becomes longer.
-- Expect: string: upvalue 'report' of string_concatenation.lua:5
local report = ""

return function(order)
  report = report .. "order " .. order.id .. "\n"
end
