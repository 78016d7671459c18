-- Clean: a large table, and a large text, that are there from the start.
local zones = {}
for i = 1, 20000 do zones["zone-" .. i] = { number = i, name = "Zone " .. i } end
local terms = ("These are the terms. "):rep(10000)

return function(order)
  assert(zones["zone-" .. order.id % 20000 + 1] and #terms > 0)
end
