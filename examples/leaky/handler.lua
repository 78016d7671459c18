-- Leaks on purpose: every body is kept in a local that lives as long as the Lua state. When more than
-- `recycle.memory` lives, the state is exchanged between two messages, and all that it kept is freed. The log
-- says so each time:
--
--     level=info msg="Lua state recycled" consumer=leaky reason=memory messages=31 heap=2.1MiB …
--
-- `moonrabbit replay` on a file of messages tells the same with growth per message, before it goes anywhere.
local kept = {}

return function(_, message)
  kept[#kept + 1] = message.body
end
