-- Tries: to fail with a function, a coroutine, the message, and an error in an error.
-- Expect: failed: error value is a userdata
local attack = require "attack"

return attack(function(_, message)
  for _, value in pairs { print, coroutine.create(print), message, true, {} } do
    assert(select(2, pcall(error, value)) == value)
    xpcall(error, function(problem) error(problem) end, value)
  end
  error(message)
end)
