-- Tries: to make cjson modules, each with a buffer outside of Lua, until none fits.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all, new = {}, require "cjson".new
  while true do all[#all + 1] = new() end
end)
