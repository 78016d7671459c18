-- Takes the queue "leaky" from a broker on this machine:  moonrabbit run -c examples/leaky/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "leaky",
      handler = "handler.lua",
      prefetch = 50,
      limits = { memory = "8MiB" },
      recycle = { memory = "2MiB" },
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
