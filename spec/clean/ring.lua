-- Clean: the last 500 orders, each in the place of an older one.
local ring, at = {}, 0

return function(order)
  at = at % 500 + 1
  ring[at] = order
end
