-- Trap 2: a way out of the handler that settles nothing: an early return, an error that is swallowed. Where
-- handlers call ack themselves, such messages stay unacked, in the memory of broker and consumer, until the
-- prefetch is used up and the consumer stands still.
--
-- Here a handler cannot forget: what it returns is the verdict, nothing is an ack, an error is a retry, and
-- the host settles each message exactly once. A message that is kept for later is over: reading it is an
-- error.
local later = {}

local function book(order)
  if order.total < 0 then error("negative total") end
end

return function(order, message)
  if order.kind == "draft" then return end
  if order.kind == "batch" then
    local previous = later[1]
    later[1] = message
    return previous and previous.id
  end
  book(order)
end
