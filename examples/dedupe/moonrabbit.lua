-- Takes the queue "payments" from a broker on this machine:  moonrabbit run -c examples/dedupe/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  cache = { memory = "8MiB", entries = 20000 },
  consumers = {
    {
      queue = "payments",
      handler = "handler.lua",
      workers = 2,
      prefetch = 100,
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
