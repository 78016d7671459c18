-- Clean: the numbers of the last 300 orders, and their sum.
local window, sum = {}, 0

return function(order)
  window[#window + 1] = order.id
  sum = sum + order.id
  if #window > 300 then sum = sum - table.remove(window, 1) end
end
