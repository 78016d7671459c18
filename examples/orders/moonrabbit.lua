-- Takes the queue "orders" from a broker on this machine:  moonrabbit run -c examples/orders/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "orders",
      handler = "handler.lua",
      prefetch = 100,
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
