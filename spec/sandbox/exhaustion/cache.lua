-- Tries: to put into the cache what is too large, too deep, itself, or nothing that can be kept.
-- Expect: acked
local attack = require "attack"
local cache = require "cache"

return attack(function()
  local self, deep = {}, {}
  self.self = self
  for _ = 1, 1e4 do deep = { deep } end
  for _, value in pairs { self, deep, ("x"):rep(12e6), print, coroutine.create(print), { [{}] = 1 }, {
    print },
    setmetatable({}, { __index = error, __pairs = error, __len = error }), 0 / 0,
      require "cjson".null } do
    pcall(cache.set, "key", value)
    pcall(cache.add, "key", value, "1s")
    pcall(cache.get, "key")
  end
  for _, key in pairs { ("k"):rep(1e6), "", "\0", 0 / 0, 1e308 * 10, {}, print, true, 2 ^ 53 } do
    pcall(cache.set, key, 1)
    pcall(cache.incr, key, 1e308, 1e308)
    pcall(cache.get, key)
  end
  for _, ttl in pairs { -1, 0, 0 / 0, 1e308 * 10, "", "-1s", ("9"):rep(1e5) .. "s", {}, print } do
    pcall(cache.set, "key", 1, ttl)
    pcall(cache.expire, "key", ttl)
    pcall(cache.fetch, "other", ttl, print)
  end
  for _, most in pairs { -1, 0, 1e300, 0 / 0, "x" } do pcall(cache.keys, most) end
end)
