-- Trap 3: a cache that only grows, by a key made of each message.
--
-- Here the cache has `cache.memory` bytes and `cache.entries` entries, in memory that the host makes once:
-- where there is no room, what has expired goes first, then what was used longest ago. And every entry has a
-- time to live: without one of its own, that of `cache.ttl`.
local cache = require "cache"

return function(order)
  cache.set("order " .. order.id, order)
end
