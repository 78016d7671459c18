-- Whatever the broker takes away (itself, the connection, the channel, the consumer, its memory) comes back,
-- and no message is lost by it. What the broker delivers a second time was in flight.
local consumer = require "support.consumer"
local proxy = require "support.proxy"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

-- Slow enough that a queue of some thousand is not empty before the broker is gone.
local SLOW = [[
  return function(order, message)
    spin(0.0005)
    handled(order, message)
  end
]]

-- For a broker that rabbitmqctl acts upon, which takes its time to start.
local SLOWER = SLOW:gsub("0.0005", "0.002")

-- Waits for a log line behind number `after`; returns its number.
local function wait_log(program, wanted, after)
  local _, at = assert(program:wait_log(wanted, { timeout = consumer.PATIENCE, after = after }))
  return at
end

local function reconnects(program)
  return consumer.told(program, "moonrabbit stopped")[1].reconnects
end

local function assert_at_most(most, count, what)
  assert.is_true(count <= most, ("%d %s, and not at most %d"):format(count, what, most))
end

describe("a broker that goes under load", function()
  local COUNT, PREFETCH = 20000, 100

  after_each(require "support.cleanup")

  -- -> the counts; how many messages were handled again, and the most that one was
  local function run(go_away, queue_options, handler)
    local queue = rabbit.queue("reconnect", queue_options)
    rabbit.write_to_disk()
    consumer.fill(queue, COUNT)
    local program = consumer.start(queue, handler or SLOW,
      { workers = 2, prefetch = PREFETCH, ["exit-when-idle"] = consumer.IDLE })
    consumer.wait_handled(program, COUNT / 20)
    go_away()
    assert.is_true(#consumer.told(program) < COUNT, "all was over before the broker went")
    local counts = consumer.finish(program)
    local missing, duplicates = consumer.missing(program, COUNT)
    assert.same({}, missing)
    assert.equal(1, reconnects(program))
    consumer.assert_left(queue, 0)
    return counts, duplicates, select(2, consumer.times_handled(program))
  end

  local function assert_only_in_flight_again(counts, duplicates)
    assert_at_most(PREFETCH, duplicates, "messages handled again")
    assert_at_most(COUNT + PREFETCH, counts.delivered, "deliveries")
    assert_at_most(COUNT + PREFETCH, counts.acked, "acks")
  end

  local function cut_power()
    rabbit.kill_broker()
    rabbit.start_broker()
  end

  it("and starts again costs what was in flight a second delivery, and nothing else", function()
    assert_only_in_flight_again(run(rabbit.restart_broker))
  end)

  it("as by a power cut loses nothing; a quorum queue still knows what was acked", function()
    assert_only_in_flight_again(run(cut_power, { arguments = { ["x-queue-type"] = "quorum" } }))
  end)

  -- A classic queue keeps acks in memory for a while: what it forgot is delivered once more, not twice.
  it("as by a power cut loses nothing of a classic queue", function()
    local _, _, most = run(cut_power)
    assert_at_most(2, most, "times the same message")
  end)

  it("by closing every connection costs what was in flight a second delivery", function()
    assert_only_in_flight_again(run(function()
      assert(rabbit.ctl("close_all_connections", "as the spec wants it"))
    end, nil, SLOWER))
  end)
end)

describe("a broker that freezes", function()
  after_each(require "support.cleanup")

  it("without closing anything is given up after two heartbeats, and found again", function()
    local queue = rabbit.queue "frozen"
    local program = consumer.start(queue, consumer.TELL,
      { ["broker-heartbeat"] = "2s", ["broker-connection-timeout"] = "1s" })
    local at = consumer.wait_consuming(program)
    consumer.fill(queue, 10)
    consumer.wait_handled(program, 10)
    rabbit.freeze_broker()
    at = wait_log(program, { msg = "connection lost" }, at)
    at = wait_log(program, { msg = "cannot connect" }, at)
    rabbit.thaw_broker()
    at = wait_log(program, { msg = "connected" }, at)
    consumer.wait_consuming(program, at)
    consumer.fill(queue, 10, { from = 11 })
    consumer.wait_handled(program, 20)
    consumer.stop(program)
    assert.same({}, (consumer.missing(program, 20)))
    consumer.assert_left(queue, 0)
  end)
end)

describe("a list of URLs", function()
  after_each(require "support.cleanup")

  it("is gone through until one answers", function()
    local queue, space = rabbit.queue "urls", workspace.new()
    consumer.write_handler(space, consumer.TELL)
    space:write("moonrabbit.lua", ([[return {
      broker = { urls = { "amqp://guest:guest@127.0.0.1:1/%%2f", %q } },
      consumers = { { queue = %q, handler = "handler.lua" } },
    }]]):format(rabbit.url, queue))
    consumer.fill(queue, 10)
    local program = consumer.start_configured(space, { ["exit-when-idle"] = consumer.IDLE })
    assert.equal(10, consumer.finish(program).acked)
    assert.matches("127%.0%.0%.1:1", consumer.told(program, "cannot connect")[1].error)
    assert.matches(":" .. rabbit.port, consumer.told(program, "connected")[1].broker)
    assert.equal(0, reconnects(program))
  end)
end)

describe("a queue that is deleted under its consumer", function()
  after_each(require "support.cleanup")

  local function delete(queue)
    assert(rabbit.connect():delete(queue))
  end

  it("is declared again where the configuration declares it", function()
    local queue = rabbit.name "deleted"
    local program = consumer.start(queue, consumer.TELL, { ["declare-durable"] = true })
    local at = consumer.wait_consuming(program)
    consumer.fill(queue, 10)
    consumer.wait_handled(program, 10)
    delete(queue)
    at = wait_log(program, { msg = "the broker cancelled the consumer" }, at)
    consumer.wait_consuming(program, at)
    consumer.fill(queue, 10, { from = 11 })
    consumer.wait_handled(program, 20)
    assert.equal(20, consumer.stop(program).acked)
    assert.equal(0, reconnects(program))
    consumer.assert_left(queue, 0)
  end)

  it("is waited for where it is not declared", function()
    local queue = rabbit.queue "deleted"
    local program = consumer.start(queue, consumer.TELL)
    local at = consumer.wait_consuming(program)
    delete(queue)
    at = wait_log(program, { msg = "the broker closed the channel",
      error = function(text) return text:find("404 NOT_FOUND", 1, true) end }, at)
    assert(rabbit.connect():declare(queue, { durable = true }))
    consumer.wait_consuming(program, at)
    consumer.fill(queue, 10)
    consumer.wait_handled(program, 10)
    assert.equal(10, consumer.stop(program).acked)
    assert.equal(0, reconnects(program))
    consumer.assert_left(queue, 0)
  end)

  it("while a message is on its way back to it is declared again first, and gets the message", function()
    local queue = rabbit.name "deleted"
    local program = consumer.start(queue, [[
      return function(order, message)
        log.info("begun", { id = order.id })
        if message.attempt == 1 then
          spin(1)
          return "retry", 0
        end
        handled(order, message)
      end
    ]], { ["declare-durable"] = true })
    consumer.wait_consuming(program)
    consumer.fill(queue, 1)
    local at = wait_log(program, { msg = "begun" })
    delete(queue)
    wait_log(program, { msg = "the broker cancelled the consumer" }, at)
    consumer.wait_handled(program, 1)
    local counts = consumer.stop(program)
    assert.same({ 1, 1 }, { counts.retried, counts.acked })
    consumer.assert_left(queue, 0)
  end)

  -- The new consumer's prefetch knows nothing of what the old one still has to settle.
  it("while its messages are at work disturbs none of the new queue's", function()
    local queue = rabbit.name "deleted"
    local program = consumer.start(queue, [[
      return function(order, message)
        log.info("begun", { id = order.id })
        if order.id == 1 then spin(3) end
        handled(order, message)
      end
    ]], { ["declare-durable"] = true, prefetch = 10 })
    consumer.wait_consuming(program)
    consumer.fill(queue, 10)
    local at = wait_log(program, { msg = "begun" })
    delete(queue)
    at = wait_log(program, { msg = "the broker cancelled the consumer" }, at)
    consumer.wait_consuming(program, at)
    consumer.fill(queue, 30, { from = 11 })
    consumer.wait_handled(program, 40)
    local counts = consumer.stop(program)
    assert.same({ 40, 0 }, { counts.acked, counts.redelivered })
    assert.equal(0, reconnects(program))
    consumer.assert_left(queue, 0)
  end)
end)

-- As where the first message costs the connection: a frame that is too large is delivered again and again.
describe("a connection that is lost as soon as it consumes", function()
  after_each(require "support.cleanup")

  it("is tried again ever more slowly", function()
    local net = proxy.start(rabbit.port)
    local url = rabbit.url:gsub(":" .. rabbit.port, ":" .. net.port)
    local program = consumer.start(rabbit.queue "backoff", consumer.TELL, { broker = url })
    local function second_of(at) return tonumber(program:log_lines()[at].time:match "([%d.]+)Z$") end
    local at, step = 0, 0.25
    for _ = 1, 4 do
      local from = consumer.wait_consuming(program, at)
      net:tell "cut"
      local lost = wait_log(program, { msg = "connection lost", purpose = "consuming" }, from)
      at = wait_log(program, { msg = "connecting again soon", purpose = "consuming" }, lost)
      if (second_of(lost) - second_of(from)) % 60 >= 1 then break end -- on this machine it did last
      local waited = program:log_lines()[at].wait_seconds
      assert.is_true(waited >= step / 2, ("%s s, and the step is %s s"):format(waited, step))
      step = step * 2
    end
    consumer.wait_consuming(program, at)
    consumer.stop(program)
  end)

  it("is tried again at once where it settled a message", function()
    local net, queue = proxy.start(rabbit.port), rabbit.queue "progress"
    local url = rabbit.url:gsub(":" .. rabbit.port, ":" .. net.port)
    local program = consumer.start(queue, consumer.TELL, { broker = url })
    local at = 0
    for _ = 1, 4 do
      at = consumer.wait_consuming(program, at)
      consumer.fill(queue, 1)
      assert.is_true(rabbit.eventually(function()
        local counts = rabbit.counts(queue)
        return counts.ready + counts.unacked == 0
      end))
      net:tell "cut"
      at = wait_log(program, { msg = "connecting again soon", purpose = "consuming" }, at)
      assert.is_true(program:log_lines()[at].wait_seconds <= 0.25)
    end
    consumer.wait_consuming(program, at)
    consumer.stop(program)
  end)
end)

describe("a channel that the broker closes", function()
  local function set(name, value)
    assert(rabbit.ctl("eval", ("application:set_env(rabbit, %s, %s)."):format(name, value)))
  end

  before_each(function()
    set("consumer_timeout", "3000")
    set("channel_tick_interval", "500")
  end)

  after_each(function()
    set("consumer_timeout", "1800000")
    set("channel_tick_interval", "60000")
    require "support.cleanup"()
  end)

  it("since a message was kept too long is opened again, and the message comes again", function()
    local queue = rabbit.queue "timeout"
    local program = consumer.start(queue, [[
      return function(order, message)
        if order.id == 1 and message.attempt == 1 then spin(4) end
        handled(order, message)
      end
    ]])
    local at = consumer.wait_consuming(program)
    consumer.fill(queue, 5)
    at = wait_log(program, { msg = "the broker closed the channel" }, at)
    consumer.wait_consuming(program, at)
    assert(rabbit.eventually(function() return rabbit.queue_info(queue).messages == 0 end))
    local handled = consumer.wait_handled(program, 6)
    local counts = consumer.stop(program)
    assert.same({ 1, 1, 5 }, { handled[1].id, counts.stale_results, counts.acked })
    assert.equal(0, reconnects(program))
    consumer.assert_left(queue, 0)
  end)
end)

describe("a broker short of memory", function()
  after_each(require "support.cleanup")

  it("is consumed from all the same", function()
    local queue, behind = rabbit.queue "alarm", rabbit.queue "alarm"
    consumer.fill(queue, 5000)
    consumer.fill(behind, 1000)
    local program = consumer.start(queue, SLOW, { ["exit-when-idle"] = consumer.IDLE, prefetch = 50 })
    consumer.wait_handled(program, 500)
    rabbit.raise_memory_alarm()
    local beginner = consumer.start(behind, consumer.TELL, { ["exit-when-idle"] = consumer.IDLE })
    assert.equal(1000, consumer.finish(beginner).acked)
    local counts = consumer.finish(program)
    assert.same({ 5000, 0 }, { counts.acked, counts.redelivered })
    assert.equal(0, reconnects(program))
    consumer.assert_left(queue, 0)
    consumer.assert_left(behind, 0)
  end)
end)
