-- Tries: to have tostring call itself for ever, which no hook sees.
-- Expect: killed
local attack = require "attack"

return attack(function() return tostring(setmetatable({}, { __tostring = tostring })) end)
