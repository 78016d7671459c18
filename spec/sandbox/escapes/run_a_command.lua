-- Tries: to run a command.
-- Expect: failed: attempt to call field 'execute'
local attack = require "attack"

return attack(function() os.execute "touch /tmp/owned" end)
