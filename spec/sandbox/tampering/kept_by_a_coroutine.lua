-- Tries: to read a message that is over in a coroutine that had begun with it.
-- Expect: failed: this message is over
local attack = require "attack"
local read

return function(data, message)
  if message.id ~= "attack" then
    read = read or coroutine.wrap(function()
      while true do coroutine.yield(pcall(function() return message.body end)) end
    end)
    return attack(error)(data, message)
  end
  error(select(2, read()))
end
