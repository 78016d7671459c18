-- Tries: to write lines with fields that are too many, too long and of every kind.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local log, fields = require "log", {}
  for i = 1, 1e4 do fields["key" .. i] = ("x"):rep(1e3) .. i end
  for _ = 1, 10 do log.error(("x"):rep(1e6), fields) end
  log.info("kinds", { print, {}, coroutine.create(print), [0 / 1] = 0 / 0, [1e308 * 10] = -1e308 * 10,
    [true] = 1, [("k"):rep(1e5)] = ("v"):rep(1e5), [""] = "", ["\n"] = "\n" })
end)
