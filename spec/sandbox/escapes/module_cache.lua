-- Tries: to put a module of its own in the place of one that is there.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson"
  assert(package == nil and not pcall(rawset, json, "decode", print))
  assert(not pcall(function() json.decode = print end))
  for name in pairs(json) do
    assert(not pcall(function() json[name] = nil end), name)
  end
  assert(require "cjson" == json and json.decode "[7]"[1] == 7)
end)
