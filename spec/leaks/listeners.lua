-- Leaks: a listener more for each message, and never one less.
-- Expect: array: upvalue 'state' of listeners.lua:9 .listeners
local state = { listeners = {}, started = os.time() }

local function on_done(listener)
  table.insert(state.listeners, listener)
end

return function(order)
  state.last = order.id
  on_done(function() return order end)
end
