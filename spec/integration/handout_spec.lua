-- Who gets what: a slow message holds up neither other messages nor their acks, and a worker that is busy is
-- not handed what a free one could take.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"

-- Spins at the message with the id 1 for as long as that many seconds of processor time.
local SLOW_FIRST = [[
  return function(order, message)
    handled(order, message)
    if order.id == 1 then
      spin(%d)
      log.info("slow one done", { id = order.id })
    end
  end]]

describe("hand-out", function()
  after_each(require "support.cleanup")

  local function place_of(program, wanted)
    for i, line in ipairs(program:log_lines()) do
      if wanted(line) then
        return i
      end
    end
  end

  local function done(line)
    return line.msg == "slow one done"
  end

  -- How many lines tell of a handled message before the slow one is done.
  local function handled_before_slow(program)
    local last, count = assert(place_of(program, done)), 0
    for i = 1, last do
      count = count + (program:log_lines()[i].msg == "handled" and 1 or 0)
    end
    return count
  end

  it("gives what waits behind a slow message to a free worker", function()
    local queue = rabbit.queue "handout"
    consumer.fill(queue, 10)
    local program = consumer.start(queue, SLOW_FIRST:format(4),
      { workers = 2, prefetch = 10, ["exit-when-idle"] = consumer.IDLE })
    assert.equal(10, consumer.finish(program).acked)
    assert.equal(10, handled_before_slow(program))
  end)

  it("does so too where the handler was fast until then, and no message is run twice", function()
    local queue = rabbit.queue "handout"
    consumer.fill(queue, 2000, { from = 2 })
    consumer.fill(queue, 1, { from = 1 })
    consumer.fill(queue, 500, { from = 2002 })
    local program = consumer.start(queue, SLOW_FIRST:format(4),
      { workers = 2, prefetch = 200, ["exit-when-idle"] = consumer.IDLE })
    assert.equal(2501, consumer.finish(program).acked)
    assert.equal(2501, handled_before_slow(program))
    local missing, duplicates = consumer.missing(program, 2501)
    assert.same({}, missing)
    assert.equal(0, duplicates)
  end)

  -- The broker hands out a new message for each ack: all can be handled only if acks go out meanwhile.
  it("sends the acks of the others while a slow message is at work", function()
    local queue = rabbit.queue "handout"
    consumer.fill(queue, 300)
    local program = consumer.start(queue, SLOW_FIRST:format(6),
      { workers = 2, prefetch = 10, ["exit-when-idle"] = consumer.IDLE })
    assert.equal(300, consumer.finish(program).acked)
    assert.equal(300, handled_before_slow(program))
  end)

  it("answers at once for what a worker did before a slow message", function()
    local queue = rabbit.queue "handout"
    consumer.fill(queue, 50, { from = 2 })
    consumer.fill(queue, 1, { from = 1 })
    local program = consumer.start(queue, SLOW_FIRST:format(600),
      { prefetch = 100, ["limits-deadline"] = "20m", ["shutdown-timeout"] = "100ms" })
    consumer.wait_handled(program, 51)
    -- The slow one is running: all others are acked, which only the broker can tell.
    assert(rabbit.eventually(function() return rabbit.counts(queue).unacked == 1 end, consumer.PATIENCE))
    local counts = consumer.stop(program)
    assert.same({ 50, 1 }, { counts.acked, counts.handed_back })
    consumer.assert_left(queue, 1)
  end)
end)
