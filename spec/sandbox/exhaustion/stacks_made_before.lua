-- Tries: to nest coroutines whose stacks are there already, so that going deeper allocates nothing.
-- Expect: failed: nested too deeply
-- Limits: memory=512MiB
local attack = require "attack"

local COROUTINES, DEPTH = 12, 4000

return attack(function()
  local go_on = {}
  -- Recurses `n` deep through C, and there waits or goes on in the next coroutine.
  local function dive(n, at)
    if n > 0 then
      return (("x"):gsub("x", function() dive(n - 1, at) end))
    elseif go_on[at + 1] then
      go_on[at + 1]()
    end
  end
  local function grow(n) return n == 0 and 0 or 1 + grow(n - 1) end
  for at = COROUTINES, 1, -1 do
    go_on[at] = coroutine.wrap(function()
      grow(15000)
      coroutine.yield()
      dive(DEPTH, at)
    end)
    go_on[at]()
  end
  go_on[1]()
end)
