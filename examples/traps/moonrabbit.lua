-- What leaks elsewhere, against a broker on this machine:  moonrabbit run -c examples/traps/moonrabbit.lua
-- Each handler says at its top what it does wrong, and what becomes of it here.
return {
  broker = { url = env("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f") },
  cache = { memory = "1MiB", entries = 1000, ttl = "10m" },
  consumers = {
    { queue = "trap-connections", handler = "connections.lua", declare = {} },
    { queue = "trap-unsettled", handler = "unsettled.lua", declare = {} },
    { queue = "trap-hoard", handler = "hoard.lua", declare = {} },
    {
      queue = "trap-waiting", handler = "waiting.lua", declare = {},
      limits = { deadline = "200ms", grace = "200ms" },
    },
    { queue = "trap-backlog", handler = "backlog.lua", declare = {} },
    { queue = "trap-registry", handler = "registry.lua", declare = {} },
  },
}
