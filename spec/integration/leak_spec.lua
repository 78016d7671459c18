-- A handler that leaks on purpose, by keeping every body: its worker stays within the memory that it had when
-- it was fresh and the quota, and no message is lost, delivered twice or charged.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"

local IS_ASAN = moonrabbit.path:find("asan", 1, true) ~= nil -- an order of magnitude slower
local MESSAGES = IS_ASAN and 30000 or 200000
local QUOTA_MIB = 8
local OWN_MIB = IS_ASAN and 8 or 1 -- what the program itself, or the sanitizer, comes to use by and by
local MIB = 1024 * 1024

local BODY = ('{"id":%%d,"note":"%s"}'):format(("a message of some length "):rep(10))

local LEAKING = [[
  local kept = {}
  return function(order, message)
    kept[#kept + 1] = message.body
  end]]

describe("a handler that leaks", function()
  after_each(require "support.cleanup")

  -- Runs it, and tells its counts and by how many bytes its worker was larger than when fresh, at the most.
  -- `is_done` says when all is handled, where an empty queue does not: what is tried again is away for a
  -- while.
  local function leak(handler, count, flags, is_done)
    local queue = rabbit.queue "leak"
    flags.prefetch, flags["limits-memory"] = 256, QUOTA_MIB .. "MiB"
    local program = consumer.start(queue, handler, flags)
    consumer.wait_consuming(program)
    local worker = program:children()[1]
    local fresh = process.rss(worker)
    consumer.fill(queue, count, { body = BODY })
    assert(rabbit.eventually(function()
      return rabbit.counts(queue).unacked == 0 and rabbit.queue_info(queue).messages == 0
        and (not is_done or is_done(program))
    end, consumer.PATIENCE))
    local grown = process.peak_rss(worker) - fresh
    assert.same({ worker }, program:children())
    local counts = consumer.stop(program)
    consumer.assert_left(queue, 0)
    return counts, grown, program
  end

  local function assert_free(counts, grown)
    assert.same({ MESSAGES, 0, 0, 0 },
      { counts.acked, counts.redelivered, counts.failed, counts.worker_deaths })
    assert.is_true(grown < QUOTA_MIB * MIB, ("the worker grew by %.1f MiB"):format(grown / MIB))
  end

  it(("into recycling by messages costs nothing, over %d messages"):format(MESSAGES), function()
    assert_free(leak(LEAKING, MESSAGES, { ["recycle-messages"] = 5000 }))
  end)

  it(("into recycling by memory costs nothing, over %d messages"):format(MESSAGES), function()
    local counts, grown, program = leak(LEAKING, MESSAGES, { ["recycle-messages"] = 1000000000 })
    assert_free(counts, grown)
    assert.equal("memory", consumer.told(program, "Lua state recycled")[1].reason)
  end)

  it("into its quota costs the messages that meet it another try, and no other", function()
    local COUNT = 300
    local counts, grown, program = leak([[
      local large, kept = ("x"):rep(20000), {}
      return function(order, message)
        log.info("begun", { id = order.id, attempt = message.attempt })
        for i = 1, 150 do kept[#kept + 1] = large .. order.id .. ":" .. i end
        handled(order, message)
      end]], COUNT, { ["recycle-messages"] = 1000000000, ["recycle-memory"] = (QUOTA_MIB * 1024 - 1) .. "KiB",
        ["retry-attempts"] = 1000 }, function(running) return #consumer.told(running) == COUNT end)
    local tripped = #consumer.told(program, "begun") - #consumer.told(program)
    assert.equal(COUNT, #consumer.told(program))
    assert.is_true(tripped > COUNT / 10)
    assert.same({ COUNT, tripped, 0, 0 },
      { counts.acked, counts.retried, counts.redelivered, counts.worker_deaths })
    -- The overdraft of a message that meets it is on top.
    local most = 1.25 * QUOTA_MIB + OWN_MIB
    assert.is_true(grown < most * MIB, ("the worker grew by %.1f MiB"):format(grown / MIB))
  end)
end)
