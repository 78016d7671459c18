-- A run with an end of its own: --max-messages settles exactly so many, --exit-when-idle waits for an empty
-- queue.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local signal = require "posix.signal"

describe("a run", function()
  after_each(require "support.cleanup")

  for _, workers in ipairs { 1, 4 } do
    it(("of --max-messages 100 settles exactly 100 with %d worker(s)"):format(workers), function()
      local queue = rabbit.queue "limits"
      consumer.fill(queue, 1000)
      local program = consumer.start(queue, consumer.TELL,
        { ["max-messages"] = 100, workers = workers, prefetch = 50 })
      local counts = consumer.finish(program)
      assert.equal(100, counts.acked)
      assert.equal(100, #consumer.told(program))
      consumer.assert_left(queue, 900)
    end)
  end

  it("of --max-messages counts every verdict, and hands the rest back", function()
    local queue = rabbit.queue "limits"
    consumer.fill(queue, 200)
    local program = consumer.start(queue, [[
      return function(order, message)
        handled(order, message)
        return order.id % 2 == 0 and "reject" or true
      end]], { ["max-messages"] = 51, prefetch = 20 })
    local counts = consumer.finish(program)
    assert.equal(51, counts.acked + counts.rejected)
    assert.equal(51, #consumer.told(program))
    consumer.assert_left(queue, 149)
  end)

  it("of --max-messages counts a requeue as settled, and leaves its message in the queue", function()
    local queue = rabbit.queue "limits"
    consumer.fill(queue, 10)
    local program = consumer.start(queue, [[return function() return "requeue" end]],
      { ["max-messages"] = 7, prefetch = 3 })
    assert.equal(7, consumer.finish(program).requeued)
    consumer.assert_left(queue, 10)
  end)

  it("of --max-messages is exact where a worker is killed on the way", function()
    local queue = rabbit.queue "limits"
    consumer.fill(queue, 1000)
    local program = consumer.start(queue, "return function(o, m) handled(o, m) spin(0.02) end",
      { ["max-messages"] = 400, workers = 2, prefetch = 40 })
    consumer.wait_handled(program, 100)
    assert(signal.kill(assert(program:children()[1]), signal.SIGKILL))
    local counts = consumer.finish(program)
    assert.equal(400, counts.acked + counts.retried)
    assert(rabbit.eventually(function() -- what is tried again comes back from its delay queue
      return rabbit.counts(queue).ready == 1000 - counts.acked
    end, consumer.PATIENCE))
    consumer.assert_left(queue, 1000 - counts.acked)
  end)

  it("of --max-messages over two consumers shares one count", function()
    local one, other = rabbit.queue "limits", rabbit.queue "limits"
    consumer.fill(one, 300)
    consumer.fill(other, 300)
    local space = require("support.workspace").new()
    consumer.write_handler(space, consumer.TELL)
    space:write("moonrabbit.lua", ([[return { broker = { url = %q }, consumers = {
      { queue = %q, handler = "handler.lua" }, { queue = %q, handler = "handler.lua" } } }]])
      :format(rabbit.url, one, other))
    local program = consumer.start_configured(space, { ["max-messages"] = 250 })
    assert.equal(250, consumer.finish(program).acked)
    local left = rabbit.counts(one).ready + rabbit.counts(other).ready
    assert.equal(350, left)
  end)

  it("of --exit-when-idle ends when the queue was empty so long, a message begins that time anew", function()
    local queue = rabbit.queue "limits"
    consumer.fill(queue, 5)
    local program = consumer.start(queue, consumer.TELL, { ["exit-when-idle"] = "5s" })
    consumer.wait_handled(program, 5)
    consumer.fill(queue, 5, { from = 6 })
    consumer.wait_handled(program, 10)
    assert.is_true(program:running())
    assert.equal(10, consumer.finish(program).acked)
    consumer.assert_left(queue, 0)
  end)

  it("of --exit-when-idle does not end while a message is at work", function()
    local queue = rabbit.queue "limits"
    consumer.fill(queue, 1)
    local program = consumer.start(queue, "return function(o, m) spin(4) handled(o, m) end",
      { ["exit-when-idle"] = "1s" })
    assert.equal(1, consumer.finish(program).acked)
    assert.equal(1, #consumer.told(program))
  end)
end)
