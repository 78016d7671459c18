-- Leaks: a cache whose time to live is looked at only where the key comes again, and no key does.
-- Expect: table: upvalue 'cache' of unbounded_cache.lua:14 .entries
local cache = { entries = {}, ttl = 60 }

function cache:fetch(key, make)
  local entry = self.entries[key]
  if not entry or entry.expires < os.time() then
    entry = { value = make(key), expires = os.time() + self.ttl }
    self.entries[key] = entry
  end
  return entry.value
end

return function(order)
  local uuid = ("%08x-0000-4000-8000-%012d"):format(order.id * 2654435761 % 2 ^ 31, order.id)
  return cache:fetch(uuid, function(key) return #key == 36 end)
end
