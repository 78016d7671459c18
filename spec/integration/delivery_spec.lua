-- Every delivery is settled once, by the verdict of its handler, and the counts of the program and of the
-- broker say the same.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"

describe("deliveries", function()
  after_each(require "support.cleanup")

  local function counts_of(changes)
    local counts = {
      delivered = 0, acked = 0, retried = 0, requeued = 0, rejected = 0, dead_letters = 0, failed = 0,
      redelivered = 0, handed_back = 0, stale_results = 0, worker_deaths = 0,
    }
    for name, count in pairs(changes) do
      counts[name] = count
    end
    return counts
  end

  for _, workers in ipairs { 1, 4 } do
    it(("of 100,000 messages are each acked, with %d worker%s"):format(workers, workers > 1 and "s" or ""),
      function()
        local queue = rabbit.queue "delivery"
        consumer.fill(queue, 100000)
        local program = consumer.start(queue, "return function() end",
          { workers = workers, prefetch = 200, ["exit-when-idle"] = consumer.IDLE })
        assert.same(counts_of { delivered = 100000, acked = 100000 }, consumer.finish(program))
        consumer.assert_left(queue, 0)
      end)
  end
end)

-- Each kind of message: what the handler makes of it, and what is to become of it, with three attempts.
local KINDS = {
  { name = "nothing", code = "return", acked = 1 },
  { name = "true", code = "return true", acked = 1 },
  { name = "ack", code = [[return "ack"]], acked = 1 },
  { name = "false", code = "return false", retried = 2, rejected = 1 },
  { name = "retry", code = [[return "retry"]], retried = 2, rejected = 1 },
  { name = "retry later", code = [[return "retry", "50ms"]], retried = 2, rejected = 1 },
  { name = "requeue", code = [[return "requeue"]], requeued = 2, rejected = 1 },
  { name = "requeue once", code = [[return message.attempt < 2 and "requeue" or "ack"]], requeued = 1,
    acked = 1 },
  { name = "reject", code = [[return "reject", "as it was told"]], rejected = 1 },
  { name = "error", code = [[error "on purpose"]], retried = 2, rejected = 1, failed = 3 },
  { name = "error once", code = [[if message.attempt < 2 then error "on purpose" end]], retried = 1,
    acked = 1, failed = 1 },
  { name = "42", code = "return 42", retried = 2, rejected = 1, failed = 3 },
  { name = "undecodable", code = [[error "never called"]], body = '{"kind":', rejected = 1 },
}

local MIXED_HANDLER = [[
  local kinds = {}
  %s
  return function(order, message)
    log.info("handled", { id = tonumber(message.id), attempt = message.attempt })
    return kinds[order.kind](message)
  end
]]

local function mixed_handler()
  local lines = {}
  for _, kind in ipairs(KINDS) do
    lines[#lines + 1] = ("kinds[%q] = function(message) %s end"):format(kind.name, kind.code)
  end
  return MIXED_HANDLER:format(table.concat(lines, "\n  "))
end

describe("a mixed run of all verdicts", function()
  local ROUNDS = 100
  local TOTAL = ROUNDS * #KINDS

  after_each(require "support.cleanup")

  local function kind_of(id)
    return KINDS[(id - 1) % #KINDS + 1]
  end

  local function publish(queue)
    local connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    for index, kind in ipairs(KINDS) do
      local body = kind.body or ('{"kind":"%s"}'):format(kind.name)
      local properties = { content_type = "application/json", delivery_mode = 2 }
      for round = 0, ROUNDS - 1 do
        properties.message_id = tostring(round * #KINDS + index)
        assert(connection:publish_many("", queue, 1, body, properties))
      end
    end
    assert(connection:close())
  end

  local function sum(name)
    local total = 0
    for _, kind in ipairs(KINDS) do
      total = total + ROUNDS * (kind[name] or 0)
    end
    return total
  end

  local function expected_counts()
    local requeued, retried = sum "requeued", sum "retried"
    return {
      delivered = TOTAL + requeued + retried, redelivered = requeued, requeued = requeued, retried = retried,
      acked = sum "acked", rejected = sum "rejected", dead_letters = 0, failed = sum "failed",
      handed_back = 0, stale_results = 0, worker_deaths = 0,
    }
  end

  -- The attempts of every message, in the order in which the handler saw them.
  local function assert_attempts(program)
    local attempts = {}
    for _, line in ipairs(consumer.told(program)) do
      attempts[line.id] = (attempts[line.id] or "") .. line.attempt
    end
    for id = 1, TOTAL do
      local kind = kind_of(id)
      local wanted = not kind.body and ("123"):sub(1, (kind.requeued or kind.retried or 0) + 1) or nil
      assert.equal(wanted, attempts[id], ("attempts of message %d, %s"):format(id, kind.name))
    end
  end

  local function queues(arguments)
    local dead, exchange = rabbit.queue "dead", rabbit.name "dead-letters"
    local connection = assert(rabbit.connect())
    assert(connection:declare_exchange(exchange, "fanout", { auto_delete = true }))
    assert(connection:bind(dead, exchange, ""))
    arguments["x-dead-letter-exchange"] = exchange
    return rabbit.queue("verdicts", { arguments = arguments }), dead
  end

  local function assert_dead_letters(dead)
    local expected = sum "rejected"
    assert(rabbit.eventually(function()
      return rabbit.queue_info(dead).messages >= expected
    end, consumer.PATIENCE))
    local messages, seen = assert(rabbit.connect():drain(dead)), {}
    assert.equal(expected, #messages)
    for _, message in ipairs(messages) do
      local id = tonumber(message.properties.message_id)
      assert.is_nil(seen[id], "dead letter twice: " .. id)
      assert.equal(1, kind_of(id).rejected, "dead letter without a reason: " .. id)
      assert.equal("rejected", message.properties.headers["x-death"][1].reason)
      seen[id] = true
    end
  end

  local function run(arguments, workers)
    local queue, dead = queues(arguments)
    publish(queue)
    local program = consumer.start(queue, mixed_handler(), {
      workers = workers, prefetch = 50, ["retry-attempts"] = 3, ["retry-delay"] = "10ms",
      ["exit-when-idle"] = consumer.IDLE,
    })
    assert.same(expected_counts(), consumer.finish(program))
    assert_attempts(program)
    consumer.assert_left(queue, 0)
    assert_dead_letters(dead)
  end

  it("is counted exactly, with one worker", function()
    run({}, 1)
  end)

  it("is counted exactly, with four workers", function()
    run({}, 4)
  end)

  it("is counted exactly on a quorum queue, which counts deliveries itself", function()
    run({ ["x-queue-type"] = "quorum" }, 4)
  end)
end)

describe("messages that are all the same", function()
  after_each(require "support.cleanup")

  it("get each as many attempts as any other", function()
    local queue = rabbit.queue "same"
    local connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    assert(connection:publish_many("", queue, 500, "the same"))
    local program = consumer.start(queue, [[return function() return "retry" end]],
      { workers = 2, ["retry-attempts"] = 4, ["retry-delay"] = "10ms", ["exit-when-idle"] = consumer.IDLE })
    local counts = consumer.finish(program)
    assert.same({ 2000, 1500, 500 }, { counts.delivered, counts.retried, counts.rejected })
    consumer.assert_left(queue, 0)
  end)
end)
