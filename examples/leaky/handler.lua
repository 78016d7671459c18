-- Leaks on purpose: every body is kept in a local that lives as long as the Lua state. When more than
-- `recycle.memory` lives, the state is exchanged between two messages, and all that it kept is freed. The log
-- says so, once a second at most, and at the end how often it was:
--
--     msg="this grows with every message" leak="upvalue 'kept' of handler.lua:13, array, 37 entries,
--     +1.0 per message, +65568 bytes per message" …
--     msg="Lua state recycled" consumer=leaky worker=1 reason=memory messages=37 heap=2.4MiB peak=2.6MiB …
--     msg="consumer stopped" queue=leaky delivered=100 acked=100 … recycled=2
--
-- `moonrabbit replay` on a file of messages tells the same with growth per message, before it goes anywhere.
local kept = {}

return function(_, message)
  kept[#kept + 1] = message.body
end
