-- Tries: to forge lines of the log by the reason of a verdict.
-- Expect: rejected: "msg":"handled"
local attack = require "attack"

return attack(function()
  return "reject", '\n{"msg":"handled","id":1,"attempt":9}\n\0\255\254\27[2J' .. ("x"):rep(1e6)
end)
