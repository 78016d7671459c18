-- Tries: to learn or change more of the program's own code through tracebacks and error levels.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for level = -3, 100 do
    local _, why = pcall(error, "x", level)
    assert(why:sub(-1) == "x" and not why:find("/scripts/", 1, true), why)
  end
  local _, handled = xpcall(error, function(...) return { ... } end, "y")
  assert(#handled == 1 and handled[1] == "y")
end)
