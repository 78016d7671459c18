-- Tries: to find what an earlier message left: in new tables, unset locals, and what collected values become.
-- Expect: acked
local attack = require "attack"
local seen = setmetatable({}, { __mode = "v" })

return function(data, message)
  if message.id ~= "attack" then
    seen[#seen + 1] = data
    return attack(error)(data, message)
  end
  for _ = 1, 2e5 do local _ = { {} } end
  for i = 1, 100 do
    local a, b, c, d
    assert(a == nil and b == nil and c == nil and d == nil and next({}) == nil and ({ nil, nil })[i] == nil)
  end
end
