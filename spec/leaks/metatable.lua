-- Leaks: what an object looks up through its metatable is kept there.
-- Expect: table: upvalue 'rates' of metatable.lua:12 metatable .cache
local rates = setmetatable({}, {
  cache = {},
  __index = function(self, key)
    local cache = getmetatable(self).cache
    cache[key] = { rate = #key / 7 }
    return cache[key]
  end,
})

return function(order)
  return assert(rates["rate-" .. order.id].rate > 0)
end
