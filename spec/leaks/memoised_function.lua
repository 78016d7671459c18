-- Leaks: a function that remembers all that it was ever asked.
-- Expect: array: upvalue 'results' of memoised_function.lua:5
local function memoise(compute)
  local results = {}
  return function(key)
    results[key] = results[key] or compute(key)
    return results[key]
  end
end

local discount = memoise(function(id) return id % 10 / 100 end)

return function(order)
  return discount(order.id) < 1
end
