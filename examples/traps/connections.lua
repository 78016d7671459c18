-- Trap 1: a connection and a channel for each message, which an error between opening and closing leaves
-- open. The broker runs out of descriptors, the consumer out of channels.
--
-- Here handlers have no sockets, and no library that opens any: the require fails, and so does the message.
-- The host has one connection, and one channel for each consumer (`broker.max_channels` bounds them); what
-- handlers publish goes over these: message:publish("", "receipts", { order = order.id }) is the whole of it.
return function(order)
  local amqp = require "amqp"
  local connection = amqp.connect("localhost")
  local channel = connection:open_channel()
  channel:publish("", "receipts", "order " .. order.id)
  connection:close()
end
