-- Books each payment once, however often it is published: the ids of the last day are in the cache, which all
-- workers share. Only a first attempt can be a duplicate: a second one is a payment whose booking failed, or
-- whose worker died. An id that the cache has no room for is booked: rather twice than never.
local cache = require "cache"
local log = require "log"

return function(payment, message)
  if not payment.id or not payment.account or not payment.amount then
    return "reject", "payment without an id, account or amount"
  end
  if message.attempt == 1 and cache.add("payment " .. payment.id, true, "1d") == false then
    log.info("duplicate", { id = payment.id, duplicates = cache.incr("duplicates", 1, 0, "1d") })
    return "ack"
  end
  local balance = cache.incr("balance " .. payment.account, payment.amount, 0, "1d")
  log.info("booked", { id = payment.id, account = payment.account, balance = balance })
end
