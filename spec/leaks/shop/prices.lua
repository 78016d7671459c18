-- A module of ../module_table.lua.
local M = { memo = {}, currency = "EUR" }

function M.of(item)
  local price = M.memo[item]
  if not price then
    price = #item * 1.5
    M.memo[item] = price
  end
  return price
end

return M
