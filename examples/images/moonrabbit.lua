-- Takes the queue "images" from a broker on this machine, and "image-sizes", which the handler publishes to:
--     moonrabbit run -c examples/images/moonrabbit.lua
-- At most `prefetch` images of `limits.message` bytes are in memory at once.
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "images",
      handler = "handler.lua",
      decode = "raw",
      prefetch = 8,
      limits = { message = "10MiB" },
      declare = { durable = true, max_length = 10000, max_bytes = "1GiB", overflow = "reject-publish" },
    },
    {
      queue = "image-sizes",
      handler = "catalogue.lua",
      prefetch = 100,
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
