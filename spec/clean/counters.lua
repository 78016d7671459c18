-- Clean: counts by what there are few of.
local counts = { total = 0, by_country = {}, by_hour = {} }

return function(order)
  local country = ({ "de", "fr", "it", "es" })[order.id % 4 + 1]
  local hour = math.floor(order.id / 100) % 24
  counts.total = counts.total + 1
  counts.by_country[country] = (counts.by_country[country] or 0) + 1
  counts.by_hour[hour] = (counts.by_hour[hour] or 0) + 1
end
