-- Tries: to have cjson write a string so long that the room for it, counted in an int, is less than none.
-- Expect: failed: too long for JSON
-- Limits: memory=1GiB
local attack = require "attack"

return attack(function() return #require "cjson".encode { ("x"):rep(358e6) } end)
