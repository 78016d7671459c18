-- Answers what comes to the queue "temperature" of a broker on this machine:
--     moonrabbit run -c examples/rpc/moonrabbit.lua
-- Nobody waits as long for an answer as a retry takes: a question is tried once, and is worthless after 10 s.
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "temperature",
      handler = "handler.lua",
      decode = "json",
      workers = 2,
      prefetch = 50,
      limits = { deadline = "1s" },
      retry = { attempts = 1 },
      declare = { durable = true, max_length = 1000, overflow = "drop-head", ttl = "10s" },
    },
  },
}
