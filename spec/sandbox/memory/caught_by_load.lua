-- Tries: to meet the end inside of the reader of a chunk, which load catches, and to go on without the hook.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all = {}
  local function fill() while true do all[#all + 1] = { #all } end end
  load(fill)
  while true do pcall(fill) end
end)
