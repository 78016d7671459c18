-- Clean: the last 4 KiB of a text that goes on and on.
local tail = ""

return function(order)
  tail = (tail .. "order " .. order.id .. " was paid\n"):sub(-4096)
end
