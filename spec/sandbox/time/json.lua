-- Tries: to catch, by cjson.safe, what would end it.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local safe = require "cjson.safe"
  while true do safe.decode "[" end
end)
