-- Tries: to hide what it keeps in weak tables and metamethods that bring it back.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local weak, strong = setmetatable({}, { __mode = "k" }), {}
  setmetatable(strong, { __index = function(_, key)
    local made = setmetatable({}, { __gc = error, __mode = "v" })
    weak[made] = ("x"):rep(1000) .. key
    rawset(strong, key, made)
    return made
  end })
  for i = 1, 1e9 do local _ = strong[i] end
end)
