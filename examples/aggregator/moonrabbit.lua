-- Takes the queue "views" from a broker on this machine:
--     moonrabbit run -c examples/aggregator/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  cache = { memory = "1MiB", entries = 1000 },
  consumers = {
    {
      queue = "views",
      handler = "handler.lua",
      workers = 4,
      prefetch = 500,
      declare = { durable = true, max_length = 1000000, overflow = "drop-head" },
    },
  },
}
