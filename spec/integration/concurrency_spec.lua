-- Handlers that wait (sleep), many under way at once in one worker: who waits holds up nobody, and whatever
-- ends, each message is settled once and only who is to blame is charged.
local consumer = require "support.consumer"
local linux = require "support.linux"
local rabbit = require "support.rabbit"

-- Tells when it begins and when it ends, and sleeps between as long as the message's id says.
local WAIT = [[
  local n, most = 0, 0
  return function(order, message)
    n = n + 1
    most = math.max(most, n)
    log.info("begun", { id = order.id, at_once = n })
    sleep(%s)
    n = n - 1
    handled(order, message)
  end]]

describe("concurrency", function()
  after_each(require "support.cleanup")

  local function most_at_once(program)
    local most = 0
    for _, line in ipairs(consumer.told(program, "begun")) do most = math.max(most, line.at_once) end
    return most
  end

  -- One after the other 200 sleeps would take 20 s.
  it("has so many under way at once in a worker, and no more", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 200)
    local began = linux.now()
    local program = consumer.start(queue, WAIT:format '"100ms"', { concurrency = 50, ["max-messages"] = 200 })
    assert.equal(200, consumer.finish(program).acked)
    assert.equal(50, most_at_once(program))
    assert.is_true(linux.now() - began >= 0.4)
    assert.same({ {}, 0 }, { consumer.missing(program, 200) })
  end)

  it("holds up no fast message behind slow ones", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 300)
    local program = consumer.start(queue, WAIT:format 'order.id <= 3 and "20s" or 0',
      { concurrency = 4, prefetch = 20 })
    consumer.wait_handled(program, 297)
    local counts = consumer.stop(program)
    assert.same({ 300, 0, 0 }, { counts.acked, counts.failed, counts.handed_back })
  end)

  it("acks at a stop what ends in time, and hands back the rest", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 256)
    local program = consumer.start(queue, WAIT:format 'order.id % 2 == 0 and "60s" or "1s"',
      { concurrency = 256, ["limits-deadline"] = "5m", ["shutdown-timeout"] = "4s" })
    local function all_begun() return #consumer.told(program, "begun") == 256 end
    assert(program:wait_until(all_begun, consumer.PATIENCE))
    local counts = consumer.stop(program)
    assert.same({ 128, 128, 0 }, { counts.acked, counts.handed_back, counts.failed })
    consumer.assert_left(queue, 128)
  end)

  it("charges only the message that was on the processor when its worker dies", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 20)
    local program = consumer.start(queue, [[
      return function(order, message)
        if order.id == 20 and message.attempt == 1 then
          sleep("200ms")
          log.info("about to hang")
          return ("a"):rep(40):find(("a*"):rep(40) .. "b")
        end
        sleep("400ms")
        handled(order, message)
      end]], { concurrency = 20, ["limits-deadline"] = "5s", ["limits-grace"] = "200ms",
        ["retry-delay"] = "100ms", ["max-messages"] = 21 })
    local counts = consumer.finish(program)
    assert.same({ 20, 1, 1 }, { counts.acked, counts.retried, counts.worker_deaths })
    for _, line in ipairs(consumer.told(program)) do
      assert.equal(line.id == 20 and 2 or 1, line.attempt)
    end
  end)

  it("returns the others uncharged where one uses up the memory of the state", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 20)
    local program = consumer.start(queue, [[
      return function(order, message)
        sleep("100ms")
        local t = {}
        while order.id == 20 and message.attempt == 1 do t[#t + 1] = ("x"):rep(1000) .. #t end
        sleep("100ms")
        handled(order, message)
      end]],
      { concurrency = 20, ["limits-memory"] = "8MiB", ["retry-delay"] = "100ms", ["max-messages"] = 21 })
    local counts = consumer.finish(program)
    assert.same({ 20, 1, 1, 0 }, { counts.acked, counts.retried, counts.failed, counts.worker_deaths })
    for _, line in ipairs(consumer.told(program)) do
      assert.equal(line.id == 20 and 2 or 1, line.attempt)
    end
  end)

  it("recycles states under load without a message run twice", function()
    local queue = rabbit.queue "concurrency"
    consumer.fill(queue, 500)
    local program = consumer.start(queue, WAIT:format '"5ms"',
      { concurrency = 20, ["recycle-messages"] = 50, ["max-messages"] = 500 })
    local counts = consumer.finish(program)
    assert.same({ 500, 0 }, { counts.acked, counts.failed })
    assert.same({ {}, 0 }, { consumer.missing(program, 500) })
  end)

  it("reloads while messages wait: they end in the old worker", function()
    local queue = rabbit.queue "concurrency"
    local space = require "support.workspace".new()
    local function configure(word)
      consumer.write_handler(space,
        ([[return function(order) log.info("begun") sleep("2s") log.info(%q, { id = order.id }) end]])
          :format(word))
    end
    configure "old"
    space:write("moonrabbit.lua", ([[return { broker = { url = %q }, consumers = {
      { queue = %q, handler = "handler.lua", concurrency = 10 } } }]]):format(rabbit.url, queue))
    consumer.fill(queue, 10)
    local program = consumer.start_configured(space)
    local function all_begun() return #consumer.told(program, "begun") == 10 end
    assert(program:wait_until(all_begun, consumer.PATIENCE))
    configure "new"
    assert(program:kill "HUP")
    local reloaded = { msg = "reloaded: new workers have taken over" }
    assert(program:wait_log(reloaded, { timeout = consumer.PATIENCE }))
    consumer.fill(queue, 10, { from = 11 })
    assert(program:wait_until(function()
      return #consumer.told(program, "old") + #consumer.told(program, "new") == 20
    end, consumer.PATIENCE))
    local counts = consumer.stop(program)
    assert.same({ 20, 0, 0 }, { counts.acked, counts.failed, counts.handed_back })
    assert.is_true(#consumer.told(program, "new") >= 10)
  end)
end)
