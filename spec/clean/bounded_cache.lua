-- Clean: a cache of the 1,000 orders that were used last, as a list and an index.
local MOST = 1000
local index, count = {}, 0
local head, tail = {}, {}
head.after, tail.before = tail, head

local function unlink(node)
  node.before.after, node.after.before = node.after, node.before
end

local function push(node)
  node.before, node.after = head, head.after
  head.after.before, head.after = node, node
end

return function(order)
  local node = index[order.id]
  if node then
    unlink(node)
  else
    node = { id = order.id, order = order }
    index[order.id], count = node, count + 1
  end
  push(node)
  if count > MOST then
    local oldest = tail.before
    unlink(oldest)
    index[oldest.id], count = nil, count - 1
  end
end
