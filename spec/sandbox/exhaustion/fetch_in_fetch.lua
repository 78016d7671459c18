-- Tries: to use up the native stack by functions of cache.fetch inside of each other.
-- Expect: failed
-- Limits: memory=256MiB
local attack = require "attack"
local cache = require "cache"

return attack(function()
  local level = 0
  local function deeper()
    level = level + 1
    return cache.fetch("level " .. level, "1s", deeper)
  end
  return deeper()
end)
