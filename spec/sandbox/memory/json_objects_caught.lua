-- Tries: to go on making cjson modules when one has failed half-way.
-- Expect: out of memory
local attack = require "attack"

return attack(function()
  local all, new = {}, require "cjson.safe".new
  while true do
    local _, made = pcall(new)
    all[#all + 1] = made
  end
end)
