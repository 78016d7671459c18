-- Clean: coroutines that end, and a generator that does not.
local numbers = coroutine.wrap(function()
  local number = 0
  while true do
    number = number + 1
    coroutine.yield(number)
  end
end)

return function(order)
  local work = coroutine.create(function(id)
    local half = coroutine.yield(id / 2)
    return half + numbers()
  end)
  coroutine.resume(work, order.id)
  coroutine.resume(work, order.id)
end
