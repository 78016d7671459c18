-- Tries: to recurse without end, and to catch each overflow.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local function deeper(n) return 1 + deeper(n + 1) end
  for _ = 1, 100 do
    assert(not pcall(deeper, 1))
    assert(not xpcall(deeper, function(why) return pcall(deeper, why) end, 1))
  end
end)
