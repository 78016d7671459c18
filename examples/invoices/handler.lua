-- Makes an invoice of each sale, once. The invoice is sent after the handler has returned, and the sale acked
-- when the broker has confirmed the invoice: a handler that fails has sent nothing, and is called again. Such
-- a second attempt is not asked whether it is a duplicate, since the first has left its id in the cache.
-- Amounts are in cents.
local cache = require "cache"
local log = require "log"

local function problem(sale)
  if not sale.id or not sale.customer then return "sale without an id or a customer" end
  if not sale.items or #sale.items == 0 then return "sale without items" end
end

local function sum(items)
  local total = 0
  for _, item in ipairs(items) do
    total = total + item.quantity * item.price
  end
  return total
end

return function(sale, message)
  local wrong = problem(sale)
  if wrong then return "reject", wrong end
  if message.attempt == 1 and cache.add("sale " .. sale.id, true, "1d") == false then
    log.info("duplicate", { id = sale.id })
    return "ack"
  end
  local invoice = { sale = sale.id, customer = sale.customer, total = sum(sale.items) }
  message:publish("", "invoices", invoice, { message_id = "invoice-" .. sale.id, type = "invoice" })
end
