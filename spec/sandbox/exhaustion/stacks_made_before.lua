-- Tries: to nest coroutines whose stacks are there already, so that going deeper allocates nothing.
-- Expect: failed: nested too deeply
-- Limits: memory=512MiB
local attack = require "attack"

local COROUTINES, LEVELS = 12, 1500
local dives, levels, at = {}, 0, 0

-- So deep that the stack has grown when it returns.
local function grow(levels_left) return levels_left == 0 and 0 or 1 + grow(levels_left - 1) end

-- Callbacks of gsub inside of each other; at the bottom the next coroutine begins to do the same.
local function deeper()
  levels = levels + 1
  if levels < LEVELS then
    ("x"):gsub("x", deeper)
  elseif at < COROUTINES then
    at, levels = at + 1, 0
    dives[at]()
  end
end

return attack(function()
  -- What keeps the collector from making the stacks smaller again.
  local ballast = ("x"):rep(150e6)
  levels, at = 0, 0
  for i = 1, COROUTINES do
    dives[i] = coroutine.wrap(function()
      grow(12000)
      coroutine.yield()
      deeper()
    end)
    dives[i]()
  end
  deeper()
  return "reject", #ballast
end)
