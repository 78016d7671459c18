-- Leaks: a callback for each message, each with what it needs.
-- Expect: array: upvalue 'callbacks' of closure_list.lua:5
local callbacks = {}

return function(order)
  local context = { order = order, tries = 0 }
  callbacks[#callbacks + 1] = function()
    context.tries = context.tries + 1
    return context.order.id
  end
end
