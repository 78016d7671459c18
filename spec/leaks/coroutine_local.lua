-- Leaks: a local of one coroutine that lives as long as the state.
-- Expect: array: local 'done' of coroutine_local.lua:3
local run = coroutine.wrap(function(order)
  local done = {}
  while true do
    done[order.id] = true
    order = coroutine.yield()
  end
end)

return function(order)
  run(order)
end
