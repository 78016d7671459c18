-- Converts amounts to euros by an API's rates, each asked for once an hour by all workers together. As
-- configured, up to twenty messages of a worker wait for answers at once, and 50 a second are taken.
local cache = require "cache"
local http = require "http"

local URL = "https://api.example.com/v1/rates/"

-- The rate, or nil: a problem is an error of the handler, so that the message is tried again.
local function ask(currency)
  local response, problem = http.get(URL .. currency, { timeout = "5s" })
  if not response then error(problem, 0) end
  if response.status == 404 then return nil end
  if response.status ~= 200 then error("the API answers " .. response.status, 0) end
  return tonumber(response.json().rate)
end

return function(payment, message)
  local currency = payment.currency
  if type(payment.amount) ~= "number" or type(currency) ~= "string" or not currency:find("^%u%u%u$") then
    return "reject", "payment without an amount or a currency"
  end
  local rate = cache.fetch("rate " .. currency, "1h", function() return ask(currency) end)
  if not rate then return "reject", "nobody has a rate for " .. currency end
  message:publish("", "payments.eur", { id = payment.id, amount = payment.amount * rate })
end
