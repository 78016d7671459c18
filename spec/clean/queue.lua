-- Clean: a queue that is now longer, now shorter, and moves on through its numbers.
local queue = { first = 1, last = 0 }

return function(order)
  for i = 1, order.id % 5 do
    queue.last = queue.last + 1
    queue[queue.last] = { id = order.id, part = i }
  end
  while queue.last - queue.first >= 40 do
    queue[queue.first] = nil
    queue.first = queue.first + 1
  end
end
