-- Leaks: the message objects themselves.
-- Expect: table: upvalue 'pending' of messages_kept.lua:5
local pending = {}

return function(_, message)
  pending[message.id] = message
end
