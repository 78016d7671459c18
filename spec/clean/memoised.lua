-- Clean: results are remembered, and forgotten all at once where there are too many.
local results, count = {}, 0

local function discount(key)
  local result = results[key]
  if not result then
    if count == 1500 then results, count = {}, 0 end
    result = #key / 100
    results[key], count = result, count + 1
  end
  return result
end

return function(order)
  return discount("order-" .. order.id) < 1
end
