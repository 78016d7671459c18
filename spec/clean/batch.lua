-- Clean: orders are gathered, and sent when there are 777 of them.
local batch = {}

return function(order, message)
  batch[#batch + 1] = order
  if #batch == 777 then
    message:publish("", "batches", { count = #batch, last = order.id })
    batch = {}
  end
end
