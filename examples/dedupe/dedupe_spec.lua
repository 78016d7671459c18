-- Each payment is booked once, and its id is forgotten after a day:  moonrabbit test examples/dedupe
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

describe("payments", function()
  local worker

  before_each(function() worker = mr.worker(here .. "handler.lua") end)
  after_each(function() worker:close() end)

  local function pay(id, attempt)
    local r = worker:deliver { body = { id = id, account = "a", amount = 10 }, attempt = attempt }
    assert.equal("ack", r.verdict)
    return r.logs[1].message
  end

  local function balance()
    return worker:cache().get("balance a")
  end

  it("are booked once, whatever becomes of the Lua state and its process", function()
    assert.equal("booked", pay("p-1"))
    assert.equal("duplicate", pay("p-1"))
    worker:recycle()
    assert.equal("duplicate", pay("p-1"))
    assert.equal("booked", pay("p-2"))
    assert.equal(20, balance())
    assert.equal(2, worker:cache().get("duplicates"))
  end)

  it("are booked at a second attempt, since the first has failed", function()
    assert.equal("booked", pay("p-1"))
    assert.equal("booked", pay("p-1", 2))
  end)

  it("are forgotten after a day", function()
    assert.equal("booked", pay("p-1"))
    worker:advance("25h")
    assert.equal("booked", pay("p-1"))
    assert.equal(10, balance())
  end)

  it("need an id, an account and an amount", function()
    assert.equal("reject", worker:deliver({ body = { id = "p-1", amount = 1 } }).verdict)
  end)
end)
