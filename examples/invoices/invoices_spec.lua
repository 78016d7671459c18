-- A sale gives one invoice, whatever is delivered twice or fails:  moonrabbit test examples/invoices
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

describe("invoices", function()
  local worker

  before_each(function() worker = mr.worker(here .. "handler.lua", { config = here .. "moonrabbit.lua" }) end)
  after_each(function() worker:close() end)

  local function sale(id, changes)
    local items = { { quantity = 2, price = 100 }, { quantity = 1, price = 50 } }
    local body = { id = id, customer = "Ann", items = items }
    for key, value in pairs(changes or {}) do body[key] = value end
    return body
  end

  local function assert_invoiced(r)
    assert.equal("ack", r.verdict)
    assert.equal(1, #r.published)
  end

  it("are published with their total", function()
    local r = worker:deliver { body = sale("s-1") }
    assert_invoiced(r)
    local invoice = r.published[1]
    assert.same({ "", "invoices" }, { invoice.exchange, invoice.routing_key })
    assert.same({ "invoice-s-1", "invoice", "application/json" },
      { invoice.properties.message_id, invoice.properties.type, invoice.properties.content_type })
    assert.matches('"total":250[,}]', invoice.body)
  end)

  it("are made once of a sale that comes twice", function()
    assert_invoiced(worker:deliver { body = sale("s-1") })
    local r = worker:deliver { body = sale("s-1") }
    assert.equal("ack", r.verdict)
    assert.same({}, r.published)
    assert.equal("duplicate", r.logs[1].message)
  end)

  it("are made at a second attempt, where the first has failed and published nothing", function()
    local r = worker:deliver { body = sale("s-1", { items = { { quantity = 1 } } }) }
    assert.same({ "error", "retry" }, { r.verdict, r.settlement })
    assert.same({}, r.published)
    assert_invoiced(worker:deliver { body = sale("s-1"), attempt = 2 })
  end)

  it("are not made of what is no sale", function()
    for reason, body in pairs {
      ["sale without items"] = sale("s-1", { items = {} }),
      ["sale without an id or a customer"] = { id = "s-1" },
    } do
      local r = worker:deliver { body = body }
      assert.same({ "reject", reason }, { r.verdict, r.reason })
      assert.same({}, r.published)
    end
  end)
end)
