-- The death of a worker: what it had not finished goes to others, and only the message it was at is charged.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"
local signal = require "posix.signal"

local WORK = "return function(o, m) handled(o, m) spin(0.001) end"

describe("the death of a worker", function()
  after_each(require "support.cleanup")

  local function kill_first_worker(program)
    assert(signal.kill(assert(program:children()[1]), signal.SIGKILL))
  end

  -- The ids of messages that were handled with an attempt over the first.
  local function charged(program)
    local ids, count = {}, 0
    for _, line in ipairs(consumer.told(program)) do
      if line.attempt > 1 and not ids[line.id] then
        ids[line.id] = true
        count = count + 1
      end
    end
    return count
  end

  it("under load loses nothing, charges one message at the most, and the worker is replaced", function()
    local queue = rabbit.queue "death"
    consumer.fill(queue, 3000)
    local program = consumer.start(queue, WORK, { workers = 2, prefetch = 50, ["exit-when-idle"] = "1s" })
    consumer.wait_handled(program, 200)
    kill_first_worker(program)
    consumer.wait_handled(program, 600)
    assert.equal(2, #program:children())
    local counts = consumer.finish(program)
    assert.equal(1, counts.worker_deaths)
    assert.equal(3000, counts.acked)
    assert.is_true(counts.retried <= 1)
    assert.is_true(charged(program) <= 1)
    assert.same({}, (consumer.missing(program, 3000)))
    consumer.assert_left(queue, 0)
  end)

  it("at each try of one message ends in its rejection, and its neighbours are not charged", function()
    local queue = rabbit.queue "death"
    consumer.fill(queue, 100)
    local program = consumer.start(queue, [[
      return function(order, message)
        handled(order, message)
        while order.id == 50 do end
      end]], {
        workers = 2, prefetch = 20, ["retry-attempts"] = 2, ["limits-deadline"] = "300ms",
        ["limits-grace"] = "200ms", ["exit-when-idle"] = "1s",
      })
    local counts = consumer.finish(program)
    assert.same({ 99, 1, 1 }, { counts.acked, counts.rejected, counts.retried })
    for _, line in ipairs(consumer.told(program)) do
      assert.is_true(line.attempt == 1 or line.id == 50, ("%d was charged"):format(line.id))
    end
    consumer.assert_left(queue, 0)
  end)

  -- Between their turns nobody knows which of the messages that wait has done it.
  it("while many messages wait in it charges the one that is there at each death, and no other", function()
    local queue = rabbit.queue "death"
    consumer.fill(queue, 12)
    local program = consumer.start(queue, [[
      return function(order, message)
        if order.id == 3 then log.info("deadly") sleep("1m") end
        sleep("300ms")
        handled(order, message)
      end]], {
        concurrency = 12, ["limits-deadline"] = "2m", ["retry-attempts"] = 2, ["retry-delay"] = "100ms",
        ["max-messages"] = 13,
      })
    local deaths, at = 0, 0
    local function is_told(msg) return msg == "deadly" or msg == "consumer stopped" end
    while true do
      local line, place = program:wait_log({ msg = is_told }, { after = at, timeout = consumer.PATIENCE })
      if assert(line, place).msg == "consumer stopped" then break end
      deaths, at = deaths + 1, place
      assert.is_true(deaths <= 10, "the message is charged by no death")
      kill_first_worker(program)
    end
    local counts = consumer.finish(program)
    assert.same({ 11, 1, 1 }, { counts.acked, counts.rejected, counts.retried })
    assert.equal(deaths, counts.worker_deaths)
    for _, line in ipairs(consumer.told(program)) do
      assert.equal(1, line.attempt, ("%d was charged"):format(line.id))
    end
    consumer.assert_left(queue, 0)
  end)

  it("whose script loads no more stops neither the program nor others, until that is mended", function()
    local space, queue, other = workspace.new(), rabbit.queue "death", rabbit.queue "other"
    consumer.write_handler(space, WORK)
    consumer.write_handler(space, WORK, "other.lua")
    space:write("moonrabbit.lua", ("return { broker = { url = %q }, consumers = { { queue = %q, handler = "
      .. "'handler.lua' }, { queue = %q, handler = 'other.lua' } } }"):format(rabbit.url, queue, other))
    local program = consumer.start_configured(space)
    consumer.fill(queue, 1)
    consumer.wait_handled(program, 1)
    space:write("handler.lua", "return function(")
    kill_first_worker(program)
    local at = 0
    for _ = 1, 6 do
      local refused = { msg = "a worker failed to start; another follows", level = "error", consumer = queue,
        error = function(text) return text:find("handler.lua:1:", 1, true) end }
      at = select(2, assert(program:wait_log(refused, { after = at, timeout = consumer.PATIENCE })))
    end
    consumer.fill(queue, 10, { from = 2 })
    consumer.fill(other, 10, { from = 12 })
    consumer.wait_handled(program, 11)
    consumer.write_handler(space, WORK)
    consumer.wait_handled(program, 21)
    assert.equal(21, consumer.stop(program).acked)
    assert.same({}, (consumer.missing(program, 21)))
    consumer.assert_left(queue, 0)
  end)
end)
