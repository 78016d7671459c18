-- Clean: attempts are counted by id until the message is done.
local attempts = {}

return function(order, message)
  local id = message.id
  attempts[id] = (attempts[id] or 0) + 1
  if order.id % 10 == 0 and attempts[id] < 3 then return false end
  attempts[id] = nil
end
