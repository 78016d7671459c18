-- Leaks: coroutines that wait for what never comes, in the table that keeps them.
-- Expect: table: upvalue 'waiting' of coroutines.lua:5
local waiting = {}

return function(order)
  local wait = coroutine.create(function(first)
    local answer = coroutine.yield(first.id)
    return first, answer
  end)
  coroutine.resume(wait, order)
  waiting["order-" .. order.id] = wait
end
