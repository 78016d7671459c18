-- What a handler publishes is confirmed before its message is acked, or the message is tried again; a broker
-- that takes nothing stops the hand-out and grows nothing.
local consumer = require "support.consumer"
local linux = require "support.linux"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local FORWARD = [[
  return function(order, message)
    spin(%s)
    handled(order, message)
    message:publish("", %q, order, { message_id = tostring(order.id) })
  end
]]

-- How often each id is in the queue; the queue is empty then.
local function ids_in(queue)
  local times = {}
  for _, message in ipairs(assert(rabbit.connect():drain(queue))) do
    local id = tonumber(message.properties.message_id)
    times[id] = (times[id] or 0) + 1
  end
  return times
end

-- -> how many came more often than once
local function assert_all_came(queue, count)
  local times, duplicates = ids_in(queue), 0
  for id = 1, count do
    assert.is_truthy(times[id], ("message %d was lost"):format(id))
    duplicates = duplicates + times[id] - 1
  end
  return duplicates
end

describe("messages that handlers publish", function()
  after_each(require "support.cleanup")

  it("are all there, each once, when theirs are acked", function()
    local queue, target = rabbit.queue "publish", rabbit.queue "target"
    consumer.fill(queue, 5000)
    local program = consumer.start(queue, FORWARD:format(0, target),
      { workers = 2, prefetch = 500, ["exit-when-idle"] = consumer.IDLE })
    assert.equal(5000, consumer.finish(program).acked)
    assert.equal(0, assert_all_came(target, 5000))
    consumer.assert_left(queue, 0)
  end)

  it("of any size go out, and hold up no heartbeat", function()
    local queue, target = rabbit.queue "publish", rabbit.queue "target"
    consumer.fill(queue, 6)
    local program = consumer.start(queue, ([[
      return function(order, message)
        message:publish("", %q, ("x"):rep(order.id * 2000000), { message_id = tostring(order.id) })
      end
    ]]):format(target), { ["broker-heartbeat"] = "2s", prefetch = 6, ["exit-when-idle"] = consumer.IDLE })
    assert.equal(6, consumer.finish(program).acked)
    local sizes = {}
    for _, message in ipairs(assert(rabbit.connect():drain(target))) do
      sizes[tonumber(message.properties.message_id)] = #message.body
    end
    assert.same({ 2000000, 4000000, 6000000, 8000000, 10000000, 12000000 }, sizes)
  end)
end)

describe("a message whose handler publishes", function()
  after_each(require "support.cleanup")

  -- What becomes of it where the broker does not take what it publishes. `words` are in the letter's error.
  local function assert_given_up(publish, words)
    local s, dead = scene.new(([[
      return function(_, message)
        require "log".info("seen", { attempt = message.attempt })
        %s
      end
    ]]):format(publish)), rabbit.name "letters"
    s:publish "x"
    local result = s:settle(3, "--dead-letter", dead, "--retry-attempts", "3")
    assert.equal(3, #scene.find_all(result.logs, "seen"))
    local letters
    assert(rabbit.eventually(function()
      letters = assert(s.connection:drain(dead))
      return #letters > 0
    end))
    local headers = letters[1].properties.headers
    assert.same({ 1, "unpublished", 3 },
      { #letters, headers["moonrabbit-reason"], headers["moonrabbit-attempt"] })
    assert.matches(words, headers["moonrabbit-error"], 1, true)
    assert.equal(0, s:waiting())
  end

  it("to an exchange that is not there is tried again, then a dead letter that says so", function()
    assert_given_up([[message:publish("nowhere", "key", "x")]], "404 NOT_FOUND")
  end)

  it("to an exchange with no binding is tried again, then a dead letter that says so", function()
    local exchange = rabbit.name "unbound"
    local connection = assert(rabbit.connect())
    assert(connection:declare_exchange(exchange, "topic", { auto_delete = false }))
    assert_given_up(([[message:publish(%q, "key", "x")]]):format(exchange), "312 NO_ROUTE")
  end)

  it("to a queue that is full is tried again, then a dead letter that says so", function()
    local arguments = { ["x-max-length"] = 1, ["x-overflow"] = "reject-publish" }
    local full = rabbit.queue("full", { arguments = arguments })
    consumer.fill(full, 1)
    assert_given_up(([[message:publish("", %q, "x")]]):format(full), "basic.nack")
  end)

  it("to one queue and to an exchange that is not there disturbs nobody else's", function()
    local queue, target, dead = rabbit.queue "publish", rabbit.queue "target", rabbit.name "letters"
    consumer.fill(queue, 1000)
    local program = consumer.start(queue, ([[
      return function(order, message)
        local exchange = order.id %% 100 == 50 and "nowhere" or ""
        message:publish(exchange, %q, order, { message_id = tostring(order.id) })
      end
    ]]):format(target), { prefetch = 100, ["retry-attempts"] = 2, ["retry-delay"] = "10ms",
      ["dead-letter"] = dead, ["exit-when-idle"] = consumer.IDLE })
    local counts = consumer.finish(program)
    assert.same({ 990, 10, 10 }, { counts.acked, counts.retried, counts.dead_letters })
    local times = ids_in(target)
    for id = 1, 1000 do
      assert.equal(id % 100 ~= 50, times[id] ~= nil, id)
    end
    local letters = ids_in(dead)
    for id = 50, 1000, 100 do
      assert.equal(1, letters[id])
    end
  end)
end)

describe("a broker short of memory", function()
  after_each(require "support.cleanup")

  it("stops the hand-out, costs no connection and no memory, and gets all when it has room again", function()
    local COUNT = 4000 -- slow ones: rabbitmqctl takes its time
    local queue, target = rabbit.queue "alarm", rabbit.queue "target"
    consumer.fill(queue, COUNT)
    local program = consumer.start(queue, FORWARD:format(0.003, target), { workers = 2, prefetch = 200,
      ["broker-heartbeat"] = "3s", ["broker-io-timeout"] = "3s", ["exit-when-idle"] = consumer.IDLE })
    consumer.wait_handled(program, 100)
    rabbit.raise_memory_alarm()
    assert(program:wait_log({ msg = "the broker blocks publishers" }, { timeout = consumer.PATIENCE }))
    local before, held = #consumer.told(program), process.rss(program.pid)
    linux.sleep(12) -- several heartbeats and io_timeouts long: the time is what is tested
    local after = #consumer.told(program)
    assert.is_true(after - before <= 500, ("%d messages were handed out while nothing could be published")
      :format(after - before))
    assert.is_true(process.rss(program.pid) - held < 4 * 1024 * 1024)
    rabbit.end_memory_alarm()
    local counts = consumer.finish(program)
    assert.same({ COUNT, 0 }, { counts.acked, counts.redelivered })
    assert.same({}, consumer.told(program, "connection lost; what was under way on it comes again"))
    assert.equal(0, assert_all_came(target, COUNT))
  end)
end)
