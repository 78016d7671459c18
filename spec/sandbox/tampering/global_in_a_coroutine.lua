-- Tries: to leave a global behind by a coroutine that was made while globals could be set.
-- Expect: failed: global 'left' cannot be set
local attack = require "attack"

local leave = coroutine.wrap(function()
  while true do
    local _, problem = pcall(function() left = 1 end)
    coroutine.yield(problem)
  end
end)
leave()

return attack(function() error(leave()) end)
