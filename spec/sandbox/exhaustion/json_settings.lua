-- Tries: to set cjson to what it cannot do.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson".new()
  for name, set in pairs(json) do
    for _, value in ipairs { -1, 0, 2 ^ 31, 2 ^ 53, 1e300, 0 / 0, "x", {}, true, false } do
      if type(set) == "function" and name ~= "new" and name ~= "encode" then
        pcall(set, value, value, value)
        pcall(set, value)
      end
    end
  end
  pcall(json.encode, { 1.5, { {} }, [3] = 0 / 0 })
  pcall(json.decode, "[nan, 0x10, [[1]]]")
end)
