-- Tries: to have cjson write more than fits.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local text, list = ("\1"):rep(1e5), {}
  for i = 1, 1000 do list[i] = text end
  return #require "cjson".encode(list)
end)
