-- Tries: to catch its end in the function of cache.fetch, which C calls protected.
-- Expect: out of time
local attack = require "attack"
local cache = require "cache"

return attack(function()
  local function spin() while true do load "return 1" () end end
  while true do pcall(cache.fetch, "nothing", "1s", spin) end
end)
