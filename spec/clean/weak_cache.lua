-- Clean: what is made once is found again, as long as somebody needs it.
local cache = setmetatable({}, { __mode = "v" })
local current

return function(order)
  local key = "document-" .. order.id
  current = cache[key] or { key = key, text = key:rep(10) }
  cache[key] = current
end
