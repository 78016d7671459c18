-- Tries: to have cjson read a text that is small beside what comes of it.
-- Expect: out of memory
local attack = require "attack"

return attack(function() return require "cjson".decode("[" .. ("{},"):rep(5e5) .. "1]") end)
