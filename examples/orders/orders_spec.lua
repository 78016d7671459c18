-- What the handler says to good and to bad orders:  moonrabbit test examples/orders
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

describe("orders", function()
  local worker

  setup(function()
    worker = mr.worker(here .. "handler.lua", { log = { level = "debug" } })
  end)

  teardown(function() worker:close() end)

  local function assert_rejected(reason, order)
    local r = worker:deliver { body = order }
    assert.equal("reject", r.verdict)
    assert.equal(reason, r.reason)
    assert.same({}, r.logs)
  end

  it("accepts an order whose total is the sum of its items", function()
    local r = worker:deliver {
      body = { id = 1, total = 250, items = { { quantity = 2, price = 100 }, { quantity = 1, price = 50 } } },
    }
    assert.equal("ack", r.verdict)
    assert.same({ { level = "debug", message = "order accepted", fields = { id = 1, total = 250 } } }, r.logs)
  end)

  it("rejects what is no order", function()
    assert_rejected("order without a total", { id = 2 })
    assert_rejected("order without items", { id = 3, total = 10 })
    assert_rejected("total is not the sum of the items",
      { id = 4, total = 11, items = { { quantity = 1, price = 10 } } })
  end)

  it("fails on items without a price, and the host tries again", function()
    local r = worker:deliver { body = { id = 5, total = 10, items = { { quantity = 1 } } } }
    assert.equal("error", r.verdict)
    assert.matches("attempt to perform arithmetic on field 'price'", r.error)
    assert.equal("retry", r.settlement)
  end)
end)
