-- Leaks: twice, at rates of their own.
-- Expect: table: upvalue 'state' of two_at_once.lua:6 .seen
-- Expect: array: upvalue 'state' of two_at_once.lua:6 .slow
local state = { seen = {}, slow = {}, count = 0 }

return function(order, message)
  state.count = state.count + 1
  state.seen[message.id] = true
  if state.count % 10 == 0 then state.slow[#state.slow + 1] = order end
end
