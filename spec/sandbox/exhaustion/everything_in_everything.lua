-- Tries: the same by coroutines, gsub, sort and pcall in turn.
-- Expect: failed: nested too deeply
-- Limits: memory=512MiB
local attack = require "attack"

return attack(function()
  local deeper
  local function by_gsub() return (("x"):gsub("x", deeper)) end
  local function by_sort()
    table.sort({ 1, 2 }, by_gsub)
    return true
  end
  function deeper() return pcall(coroutine.wrap(by_sort)) end
  return deeper()
end)
