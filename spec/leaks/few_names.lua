-- Leaks: the same with names that could be fields, and few enough of them.
-- Expect: nested tables: upvalue 'by_country' of few_names.lua:5
local by_country = { de = {}, fr = {}, it = {}, es = {}, pt = {} }

return function(order)
  local countries = { "de", "fr", "it", "es", "pt" }
  table.insert(by_country[countries[order.id % 5 + 1]], order.id)
end
