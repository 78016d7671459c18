-- Tries: to have cjson count an array's length past what it counts with.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson".new()
  for _, key in ipairs { 2 ^ 31 - 1, 2 ^ 31, 2 ^ 32, 2 ^ 53, 1e300, 1e308 * 10 } do
    pcall(json.encode, { [key] = 1 })
    pcall(json.encode, { 1, 2, [key] = 1 })
  end
  json.encode_sparse_array(true, 2, 0)
  assert(json.encode { [2 ^ 30] = 1 } == '{"1073741824":1}')
end)
