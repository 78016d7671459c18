-- Takes the queue "sales" from a broker on this machine, and "invoices", which the handler publishes to:
--     moonrabbit run -c examples/invoices/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "sales",
      handler = "handler.lua",
      decode = "json",
      workers = 2,
      prefetch = 100,
      dead_letter = "sales.dead",
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
    {
      queue = "invoices",
      handler = "mail.lua",
      prefetch = 100,
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
