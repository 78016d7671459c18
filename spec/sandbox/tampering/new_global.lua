-- Tries: to leave a global behind for the next message.
-- Expect: failed: global 'counter' cannot be set once the handler runs
local attack = require "attack"

return attack(function() counter = 1 end)
