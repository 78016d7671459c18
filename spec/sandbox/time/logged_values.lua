-- Tries: to run code when what it logs is written.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local function spin() while true do end end
  local trap = setmetatable({ a = 1 }, { __index = spin, __tostring = spin, __len = spin, __pairs = spin })
  require "log".info(trap, trap)
  require "log".info("x", { trap = trap })
end)
