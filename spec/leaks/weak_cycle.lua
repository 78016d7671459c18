-- Leaks: weak keys whose values lead back to them, so that none is ever free.
-- Expect: table: upvalue 'parents' of weak_cycle.lua:5
local parents = setmetatable({}, { __mode = "k" })

return function(order)
  local child = { id = order.id }
  parents[child] = { child = child }
end
