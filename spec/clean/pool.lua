-- Clean: tables that are used again; as many as were ever needed at once, which goes up and down.
local free, busy = {}, {}

return function(order)
  for i = 1, order.id % 7 + 1 do
    local buffer = table.remove(free) or { parts = {} }
    buffer.parts[1] = order.id
    busy[i] = buffer
  end
  for i = #busy, 1, -1 do
    free[#free + 1], busy[i] = busy[i], nil
  end
end
