-- Tries: to have numbers of a million digits read.
-- Expect: out of time
local attack = require "attack"

return attack(function()
  local json = require "cjson"
  local text = "[" .. ("9"):rep(1e6) .. "." .. ("9"):rep(1e6) .. "e-" .. ("9"):rep(1000) .. "]"
  while true do pcall(json.decode, text) end
end)
