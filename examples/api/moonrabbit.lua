-- Takes the queue "payments.foreign" from a broker on this machine; "payments.eur" is to be there as well:
-- moonrabbit run -c examples/api/moonrabbit.lua
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  consumers = {
    {
      queue = "payments.foreign",
      handler = "handler.lua",
      concurrency = 20,
      rate = "50/s",
      http = { allow = { "api.example.com:443" }, timeout = "5s" },
      retry = { attempts = 8, delay = "2s" },
      dead_letter = "payments.foreign.dead",
      declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
    },
  },
}
