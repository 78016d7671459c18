-- Tries: to replace cjson.decode.
-- Expect: failed: cjson.decode cannot be set
local attack = require "attack"

return attack(function() require "cjson".decode = function() return { id = 1 } end end)
