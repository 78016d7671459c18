-- Tries: the same by gmatch, with captures.
-- Expect: killed
local attack = require "attack"

return attack(function()
  for _ in ("a"):rep(40):gmatch("(" .. ("a?"):rep(30) .. ")" .. ("a-"):rep(30) .. "b") do load "" () end
end)
