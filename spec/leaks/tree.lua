-- Leaks: a search tree, in which no entry is ever found again.
-- Expect: linked list: upvalue 'index' of tree.lua:16
local index = { key = 0.5 }

local function insert(node, key)
  while true do
    local side = key < node.key and "left" or "right"
    if not node[side] then
      node[side] = { key = key }
      return
    end
    node = node[side]
  end
end

return function(order)
  insert(index, math.sin(order.id))
end
