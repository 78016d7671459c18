-- Tries: to have cjson recurse into tables until its stack is used up.
-- Expect: failed: excessive nesting
local attack = require "attack"

return attack(function()
  local deep = {}
  for _ = 1, 1e5 do deep = { deep } end
  return require "cjson".encode(deep)
end)
