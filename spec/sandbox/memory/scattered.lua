-- Tries: to hold many times the quota by small blocks, of ever another size, with one left of hundreds.
-- Expect: out of memory
local attack = require "attack"

local SLAB_BYTES = 32 * 1024
local HEAD_BYTES, STAMP_BYTES = 24, 8 -- of a string: LuaJIT's, and what makes each another one

return attack(function()
  local kept, count = {}, 0
  for size = 48, 512, 16 do
    local all = {}
    for i = 1, 1e6 / size do
      count = count + 1
      all[i] = ("%08d"):format(count) .. ("x"):rep(size - HEAD_BYTES - STAMP_BYTES)
    end
    for i = 1, #all, math.ceil(SLAB_BYTES / size) do kept[#kept + 1] = all[i] end
  end
  return #kept > 0
end)
