-- Trap 5: queues without a limit. Behind a consumer that is slow or gone the broker's queue grows until the
-- broker stops all publishers; with a prefetch without a limit, all of it grows in the consumer.
--
-- This handler is as slow as many; what bounds its backlog is configuration, and there without being asked
-- for. A queue that `declare` makes holds 100,000 messages, and then refuses more, of which publishers with
-- confirms hear; none is only had by writing max_length = "none". `prefetch` has no value for "no limit": 0
-- is refused.
return function(order)
  local digits = 0
  for i = 1, 100000 do digits = digits + #tostring(i * order.id) end
end
