-- Tries: to have cjson.safe catch what ends it, and to call it again: its buffer is not what it believes
-- then.
-- Expect: out of memory
local attack = require "attack"
local safe = require "cjson.safe"

return attack(function()
  local text, list = ("\1"):rep(1e5), {}
  for i = 1, 100 do list[i] = text end
  while true do safe.encode(list) end
end)
