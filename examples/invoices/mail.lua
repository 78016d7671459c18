-- Stands for the service that mails invoices: it logs them.
local log = require "log"

return function(invoice, message)
  log.info("invoice mailed", { id = message.id, customer = invoice.customer, total = invoice.total })
end
