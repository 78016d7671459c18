-- Tries: to catch the end of its memory in the function of cache.fetch.
-- Expect: out of memory
local attack = require "attack"
local cache = require "cache"

return attack(function()
  local all = {}
  local function fill() while true do all[#all + 1] = { #all } end end
  while true do pcall(cache.fetch, "nothing", "1s", fill) end
end)
