-- Tries: to have cjson recurse into texts until its stack is used up.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson"
  for _, opening in ipairs { "[", '{"a":', "[[{", '[{"a":' } do
    assert(not pcall(json.decode, opening:rep(1e6)))
  end
  assert(not pcall(json.decode_max_depth, 1001) and not pcall(json.new().decode_max_depth, 1e9))
end)
