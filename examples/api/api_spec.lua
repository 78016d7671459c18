-- What is converted, and what becomes of it where the API cannot be asked:  moonrabbit test examples/api
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

describe("payments in other currencies", function()
  local worker

  -- The API's host is not allowed here, so that no spec depends on it.
  before_each(function()
    worker = mr.worker(here .. "handler.lua", { concurrency = 20, http = { allow = { "localhost:443" } } })
  end)
  after_each(function() worker:close() end)

  local function pay(currency, amount)
    return worker:deliver { body = { id = "p-1", currency = currency, amount = amount } }
  end

  it("are converted by the rate that is known", function()
    worker:cache().set("rate USD", 0.5, "1h")
    local r = pay("USD", 10)
    assert.equal("ack", r.verdict)
    assert.equal("payments.eur", r.published[1].routing_key)
    assert.is_truthy(r.published[1].body:find('"amount":5', 1, true))
  end)

  it("are tried again where the API cannot be asked, and publish nothing", function()
    local r = pay("CHF", 10)
    assert.equal("error", r.verdict)
    assert.equal("retry", r.settlement)
    assert.is_truthy(r.error:find("api.example.com:443 is not in http.allow", 1, true), r.error)
    assert.same({}, r.published)
  end)

  it("need an amount and a currency", function()
    assert.equal("reject", pay("euros", 10).verdict)
    assert.equal("reject", pay("USD", "10").verdict)
  end)
end)
