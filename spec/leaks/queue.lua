-- Leaks: a queue of which less is taken than is put in.
-- Expect: array: upvalue 'queue' of queue.lua:5
local queue = { first = 1, last = 0 }

return function(order)
  queue.last = queue.last + 1
  queue[queue.last] = order
  if order.id % 3 == 0 then
    queue[queue.first] = nil
    queue.first = queue.first + 1
  end
end
