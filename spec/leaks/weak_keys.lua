-- Leaks: a table that is weak in keys that are never collected.
-- Expect: table: upvalue 'sessions' of weak_keys.lua:5
local sessions = setmetatable({}, { __mode = "k" })

return function(order)
  sessions["session-" .. order.id] = { began = os.time() }
end
