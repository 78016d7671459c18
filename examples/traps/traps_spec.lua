-- What becomes here of what leaks elsewhere:  moonrabbit test examples/traps
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

local ORDERS = 5000

describe("the trap of", function()
  local worker

  after_each(function()
    if worker then worker:close() end
    worker = nil
  end)

  local function open(script)
    worker = mr.worker(here .. script, { config = here .. "moonrabbit.lua" })
  end

  it("a connection for each message: there is none to be had", function()
    open "connections.lua"
    for id = 1, 3 do
      local r = worker:deliver { body = { id = id } }
      assert.same({ "error", "retry" }, { r.verdict, r.settlement })
      assert.matches("module 'amqp'", r.error)
    end
    assert.equal(1, worker:counts().processes)
  end)

  it("a message that is never settled: whatever a handler does is a verdict", function()
    open "unsettled.lua"
    local early = worker:deliver { body = { kind = "draft" } }
    assert.same({ "ack", "ack" }, { early.verdict, early.settlement })
    local failed = worker:deliver { body = { total = -1 } }
    assert.same({ "error", "retry" }, { failed.verdict, failed.settlement })
    assert.equal("reject", worker:deliver({ body = { total = -1 }, attempt = 5 }).settlement)
  end)

  it("a message that is kept for later: it is settled all the same, and over", function()
    open "unsettled.lua"
    assert.equal("ack", worker:deliver({ body = { kind = "batch" }, id = "m-1" }).settlement)
    local r = worker:deliver { body = { kind = "batch" }, id = "m-2" }
    assert.equal("error", r.verdict)
    assert.matches("over", r.error)
  end)

  it("a cache that only grows: it is full, and goes on", function()
    open "hoard.lua"
    for id = 1, ORDERS do
      assert.equal("ack", worker:deliver({ body = { id = id } }).verdict)
    end
    local cache = worker:cache()
    assert(cache.size() <= cache.capacity() and cache.capacity() <= 1000, "the cache has " .. cache.size())
    assert.same({ id = ORDERS }, cache.get("order " .. ORDERS))
    assert.is_nil(cache.get("order 1"))
    worker:advance("11m")
    assert.is_nil(cache.get("order " .. ORDERS))
  end)

  it("a handler that waits for ever: it is ended, and the next message handled", function()
    open "waiting.lua"
    local r = worker:deliver { body = { id = 1 } }
    assert.same({ "error", "retry" }, { r.verdict, r.settlement })
    assert(r.cause == "time" or r.cause == "killed", r.cause)
    worker:cache().set("payment of 2", true)
    assert.equal("ack", worker:deliver({ body = { id = 2 } }).verdict)
  end)

  it("a table that only grows: it is named", function()
    open "registry.lua"
    for id = 1, 800 do worker:deliver { body = { id = id } } end
    local leaks = worker:leaks()
    assert.equal(1, #leaks)
    assert.same({ "upvalue 'open' of registry.lua:16", "table", 200 },
      { leaks[1].path, leaks[1].kind, leaks[1].entries })
    assert(math.abs(leaks[1].entries_per_message - 0.25) < 0.01)
    assert.matches("order %d+, order %d+", leaks[1].sample)
  end)

  it("a queue without a limit: no number says so", function()
    local function assert_refused(says, options)
      options.config = here .. "moonrabbit.lua"
      local ok, problem = pcall(mr.worker, here .. "backlog.lua", options)
      assert.is_false(ok)
      assert(tostring(problem):find(says, 1, true), problem)
    end
    assert_refused("prefetch", { prefetch = 0 })
    assert_refused('"none"', { declare = { max_length = 0 } })
    open "backlog.lua"
    assert.equal("ack", worker:deliver({ body = { id = 1 } }).verdict)
  end)
end)
