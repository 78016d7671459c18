-- A module of ../module_local.lua.
local stock = {}

local function reserve(item, count)
  stock[item] = (stock[item] or 0) + count
end

return { reserve = reserve }
