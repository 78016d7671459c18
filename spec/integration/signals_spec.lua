-- Signals: SIGTERM and SIGINT end the program in order, a second one at once, and SIGHUP puts new scripts and
-- configurations in place of the old. Each message is handled once, or is still in the queue.
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

-- Slow enough that messages are left whenever a signal comes.
local SLOW = "return function(order, message) spin(0.002) handled(order, message) end"

-- Tells of the message, and stays at it for longer than anybody waits.
local STUCK = [[
  return function(order)
    log.info("at work", { id = order.id })
    spin(1000)
  end
]]

-- As SLOW, and each line tells the version of the script; before that, what is done as it loads.
local VERSION = [[
  %s
  return function(order, message)
    spin(0.001)
    log.info("handled", { id = order.id, attempt = message.attempt, version = %d })
  end
]]

local function version(number, at_load)
  return VERSION:format(at_load or "", number)
end

local function wait_log(program, wanted, after)
  local line, at = program:wait_log(wanted, { timeout = consumer.PATIENCE, after = after })
  assert(line, at)
  return at, line
end

-- The ids of what is in the queue, in its order. The queue is empty then.
local function take_left(queue)
  local ids = {}
  for _, message in ipairs(assert(rabbit.connect():drain(queue))) do
    ids[#ids + 1] = tonumber(message.properties.message_id)
  end
  return ids
end

local function sequence(first, last)
  local ids = {}
  for id = first, last do
    ids[#ids + 1] = id
  end
  return ids
end

local function handled_ids(program)
  local ids = {}
  for _, line in ipairs(consumer.told(program)) do
    ids[#ids + 1] = line.id
  end
  return ids
end

-- Every message from 1 to `count` was handled once.
local function assert_each_handled_once(program, count)
  local missing, duplicates = consumer.missing(program, count)
  assert.same({}, missing)
  assert.equal(0, duplicates)
end

-- Nothing is with a consumer, and none is there.
local function assert_all_ready(queue, ready)
  assert.same({ ready = ready, unacked = 0, consumers = 0 }, rabbit.counts(queue))
end

describe("a signal to stop", function()
  after_each(require "support.cleanup")

  local COUNT = 2000

  -- Each message was handled once or is left, never both, and what is left has kept its order.
  local function assert_split(program, queue)
    local handled, left = handled_ids(program), take_left(queue)
    assert.is_true(#left > 0, "nothing was left: the signal did not come under load")
    local all = {}
    for index, id in ipairs(left) do
      assert.is_true(index == 1 or id > left[index - 1], "order of what is left, at " .. id)
      all[#all + 1] = id
    end
    for _, id in ipairs(handled) do
      all[#all + 1] = id
    end
    table.sort(all)
    assert.same(sequence(1, COUNT), all)
  end

  for _, case in ipairs { { "TERM", 1 }, { "TERM", 4 }, { "INT", 1 }, { "INT", 4 } } do
    local signal, workers = unpack(case)
    it(("SIG%s under load ends in order, with %d workers"):format(signal, workers), function()
      local queue = rabbit.queue "signals"
      consumer.fill(queue, COUNT)
      local program = consumer.start(queue, SLOW, { workers = workers, prefetch = 50 })
      consumer.wait_handled(program, 200)
      assert(program:kill(signal))
      local counts = consumer.finish(program)
      local acked = #consumer.told(program)
      assert.same({ acked, 0, 0, 0 }, { counts.acked, counts.requeued, counts.rejected, counts.redelivered })
      assert.equal(counts.delivered, acked + counts.handed_back)
      assert.same({}, consumer.told(program, "shutdown_timeout is over"))
      assert_all_ready(queue, COUNT - acked)
      assert_split(program, queue)
    end)
  end

  it("lets what runs finish, and runs teardown in each worker", function()
    local queue = rabbit.queue "signals"
    consumer.fill(queue, 20)
    local program = consumer.start(queue, [[
      local function handle(order, message)
        log.info("at work")
        spin(2)
        handled(order, message)
      end
      return { handle = handle, teardown = function() log.info("torn down") end }
    ]], { workers = 2 })
    wait_log(program, { msg = "at work" }, (wait_log(program, { msg = "at work" })))
    local counts = consumer.stop(program)
    assert.same({ 2, 2 }, { counts.acked, #consumer.told(program) })
    local workers = {}
    for _, line in ipairs(consumer.told(program, "torn down")) do
      workers[#workers + 1] = line.worker
    end
    table.sort(workers)
    assert.same({ 1, 2 }, workers)
    assert_all_ready(queue, 18)
  end)
end)

describe("a handler that runs longer than shutdown_timeout", function()
  after_each(require "support.cleanup")

  local function start_stuck(queue, flags)
    flags["limits-deadline"] = "10m"
    local program = consumer.start(queue, STUCK, flags)
    wait_log(program, { msg = "at work", id = 1 })
    return program
  end

  it("is ended, and its message handed back uncounted", function()
    local queue = rabbit.queue "signals"
    consumer.fill(queue, 5)
    local program = start_stuck(queue, { ["shutdown-timeout"] = "300ms" })
    local counts = consumer.stop(program)
    assert.same({ 5, 5, 0, 0, 0 },
      { counts.delivered, counts.handed_back, counts.requeued, counts.failed, counts.worker_deaths })
    assert.equal(1, #consumer.told(program,
      "shutdown_timeout is over: running handlers are ended and their messages handed back"))
    assert.is_nil(program:stderr():find("is replaced", 1, true))
    assert_all_ready(queue, 5)
    assert.same(sequence(1, 5), take_left(queue))
  end)

  it("leaves its message no other attempts than those that it had not begun", function()
    local queue = rabbit.queue "signals"
    consumer.fill(queue, 5)
    consumer.stop(start_stuck(queue, { ["shutdown-timeout"] = "300ms" }))
    local program = consumer.start(queue, consumer.TELL, { ["max-messages"] = 5 })
    assert.equal(5, consumer.finish(program).acked)
    local attempts = {}
    for _, line in ipairs(consumer.told(program)) do
      assert.equal(attempts[#attempts] or line.attempt, line.attempt)
      attempts[#attempts + 1] = line.attempt
    end
    assert.same(sequence(1, 5), handled_ids(program))
  end)

  for _, signals in ipairs { { "TERM", "TERM" }, { "INT", "INT" }, { "TERM", "INT" } } do
    it(("is ended at once by SIG%s and then SIG%s"):format(unpack(signals)), function()
      local queue = rabbit.queue "signals"
      consumer.fill(queue, 5)
      local program = start_stuck(queue, { ["shutdown-timeout"] = "10m" })
      local workers = program:children()
      assert(program:kill(signals[1]))
      wait_log(program, { msg = "stopping", signal = function() return true end })
      assert(program:kill(signals[2]))
      assert.equal(1, program:wait(consumer.PATIENCE))
      wait_log(program, { msg = "stopping at once" })
      assert.same({ 1, false }, { #workers, process.alive(workers[1]) })
      assert(rabbit.eventually(function()
        return rabbit.counts(queue).ready == 5
      end, consumer.PATIENCE))
      assert.same(sequence(1, 5), take_left(queue))
    end)
  end
end)

describe("SIGHUP with another script", function()
  after_each(require "support.cleanup")

  local function start(queue, workers)
    return consumer.start(queue, version(1), { workers = workers, prefetch = 50 })
  end

  local function hang_up(program)
    assert(program:kill "HUP")
  end

  -- The lines of handled messages by the version that handled them.
  local function by_version(program)
    local found = {}
    for _, line in ipairs(consumer.told(program)) do
      found[line.version] = found[line.version] or {}
      table.insert(found[line.version], line)
    end
    return found
  end

  local function assert_nothing_went_back(counts, count)
    assert.same({ count, count, 0, 0, 0, 0 }, { counts.delivered, counts.acked, counts.redelivered,
      counts.requeued, counts.stale_results, counts.worker_deaths })
  end

  for _, workers in ipairs { 1, 3 } do
    it(("under load: new code takes over and nothing is lost, with %d workers"):format(workers), function()
      local queue, count = rabbit.queue "signals", 2000
      consumer.fill(queue, count)
      local program = start(queue, workers)
      consumer.wait_handled(program, 200)
      consumer.write_handler(program.space, version(2))
      hang_up(program)
      wait_log(program, { msg = "reloaded: new workers have taken over" })
      consumer.wait_handled(program, count)
      assert_nothing_went_back(consumer.stop(program), count)
      assert_each_handled_once(program, count)
      local found = by_version(program)
      assert.is_true(#found[1] >= 200 and #found[2] > 0)
      if workers == 1 then
        assert.same(sequence(1, count), handled_ids(program))
      end
    end)
  end

  it("while the program starts is remembered: the new code takes over right after that", function()
    local queue = rabbit.queue "signals"
    local program = consumer.start(queue, version(1, 'log.info("loading") spin(1)'))
    wait_log(program, { msg = "loading" })
    consumer.write_handler(program.space, version(2))
    hang_up(program)
    local at = wait_log(program, { msg = "still starting: configuration and scripts are" })
    wait_log(program, { msg = "reloaded: new workers have taken over" }, at)
    consumer.fill(queue, 1)
    consumer.wait_handled(program, 1)
    assert_nothing_went_back(consumer.stop(program), 1)
    assert.equal(1, #by_version(program)[2])
  end)

  it("that is broken: the old code stays and the log says why, until the script is mended", function()
    local queue, count = rabbit.queue "signals", 2000
    consumer.fill(queue, count)
    local program = start(queue, 2)
    consumer.wait_handled(program, 200)
    consumer.write_handler(program.space, "return function( end")
    hang_up(program)
    local at, line = wait_log(program, { msg = "scripts not reloaded; the old code stays", level = "error" })
    assert.is_truthy(line.error:find("handler.lua", 1, true), line.error)
    consumer.wait_handled(program, #consumer.told(program) + 200)
    consumer.write_handler(program.space, version(3))
    hang_up(program)
    wait_log(program, { msg = "reloaded: new workers have taken over" }, at)
    consumer.wait_handled(program, count)
    assert_nothing_went_back(consumer.stop(program), count)
    assert_each_handled_once(program, count)
    local found = by_version(program)
    assert.is_true(#found[1] >= 400 and #found[3] > 0)
  end)

  it("twice quickly: only the latest code takes over", function()
    local queue, count = rabbit.queue "signals", 2000
    consumer.fill(queue, count)
    local program = start(queue, 2)
    consumer.wait_handled(program, 200)
    consumer.write_handler(program.space, version(2, "spin(2)"))
    hang_up(program)
    local at = wait_log(program, { msg = "reloading configuration and scripts" })
    consumer.write_handler(program.space, version(3))
    hang_up(program)
    wait_log(program, { msg = "reloading configuration and scripts" }, at)
    wait_log(program, { msg = "reloaded: new workers have taken over" }, at)
    consumer.wait_handled(program, count)
    assert_nothing_went_back(consumer.stop(program), count)
    assert_each_handled_once(program, count)
    local found = by_version(program)
    assert.is_true(#found[1] > 0 and not found[2] and #found[3] > 0)
    assert.same({}, consumer.told(program, "scripts not reloaded; the old code stays"))
  end)
end)

describe("SIGHUP with another configuration", function()
  after_each(require "support.cleanup")

  -- consumers: the Lua text of each
  local function configure(space, consumers)
    space:write("moonrabbit.lua", ("return { broker = { url = %q }, consumers = { %s } }"):format(
      rabbit.url, table.concat(consumers, ", ")))
  end

  local function of(queue, more)
    return ("{ queue = %q, handler = 'handler.lua', %s }"):format(queue, more or "")
  end

  local function start(consumers)
    local space = workspace.new()
    consumer.write_handler(space, SLOW)
    configure(space, consumers)
    return consumer.start_configured(space), space
  end

  -- The reload is under way when this returns.
  local function hang_up(program, after)
    assert(program:kill "HUP")
    return wait_log(program, { msg = "reloading configuration and scripts" }, after)
  end

  local function consuming(queue, prefetch)
    return { msg = "consuming", queue = queue, prefetch = prefetch }
  end

  local function consumers_of(queue)
    return rabbit.queue_info(queue).consumers
  end

  -- Handles all that is in the queue, to the end of the program.
  local function finish_all(program, queue, count)
    consumer.wait_handled(program, count)
    local counts = consumer.stop(program)
    assert_each_handled_once(program, count)
    assert.same({ count, 0, 0 }, { counts.acked, counts.requeued, counts.rejected })
    assert_all_ready(queue, 0)
    return counts
  end

  it("of workers: there are as many, and no message goes back", function()
    local queue, count = rabbit.queue "signals", 1000
    consumer.fill(queue, count)
    local program, space = start { of(queue, "workers = 1") }
    for _, workers in ipairs { 3, 2 } do
      consumer.wait_handled(program, #consumer.told(program) + 100)
      configure(space, { of(queue, "workers = " .. workers) })
      wait_log(program, { msg = "reloaded: new workers have taken over" }, (hang_up(program,
        #program:log_lines())))
      assert(rabbit.eventually(function()
        return #program:children() == workers
      end, consumer.PATIENCE))
    end
    assert.equal(0, finish_all(program, queue, count).redelivered)
  end)

  it("of prefetch: the consumer is started anew, and nothing is handled twice", function()
    local queue, count = rabbit.queue "signals", 1000
    consumer.fill(queue, count)
    local program, space = start { of(queue, "prefetch = 10") }
    consumer.wait_handled(program, 100)
    configure(space, { of(queue, "prefetch = 20") })
    hang_up(program)
    wait_log(program, consuming(queue, 20))
    wait_log(program, { msg = "consumer stopped", queue = queue })
    assert.equal(1, consumers_of(queue))
    finish_all(program, queue, count)
  end)

  it("of limits.message: what is held and larger now is a dead letter, and no worker dies of it", function()
    local queue, count = rabbit.queue "signals", 100
    local large = { body = '{"id":%d,"filling":"' .. ("x"):rep(300 * 1024) .. '"}' }
    local dead = rabbit.name "signals-dead"
    local more = ("prefetch = 100, dead_letter = %q, limits = { message = %%q }"):format(dead)
    consumer.fill(queue, 10)
    consumer.fill(queue, 10, { from = 11, body = large.body })
    consumer.fill(queue, count - 20, { from = 21 })
    local program, space = start { of(queue, more:format "1MiB") }
    consumer.write_handler(space, "return function(order, message) spin(0.2) handled(order, message) end")
    wait_log(program, consuming(queue, 100))
    configure(space, { of(queue, more:format "1KiB") })
    consumer.write_handler(space, SLOW)
    wait_log(program, { msg = "reloaded: new workers have taken over" }, (hang_up(program)))
    assert(rabbit.eventually(function()
      local letters = rabbit.queue_info(dead)
      return letters and #consumer.told(program) + letters.messages >= count
    end, consumer.PATIENCE))
    local counts = consumer.stop(program)
    assert.same({ 0, count }, { counts.worker_deaths, counts.acked + counts.dead_letters })
    assert.equal(counts.dead_letters, #assert(rabbit.connect():drain(dead)))
    assert.is_true(counts.dead_letters > 0)
    assert_all_ready(queue, 0)
  end)

  it("of a consumer: one that is added starts, one that is removed leaves in order", function()
    local old, new = rabbit.queue "signals-old", rabbit.queue "signals-new"
    consumer.fill(old, 2000)
    local program, space = start { of(old) }
    consumer.wait_handled(program, 50)
    configure(space, { of(old), of(new) })
    local at = hang_up(program)
    wait_log(program, consuming(new, 10))
    configure(space, { of(new) })
    at = hang_up(program, at)
    local _, stopped = wait_log(program, { msg = "consumer stopped", queue = old })
    wait_log(program, { msg = "consumer is no longer configured; it stops", consumer = old }, at)
    assert_all_ready(old, 2000 - stopped.acked)
    consumer.fill(new, 20, { from = 5001 })
    wait_log(program, { msg = "handled", id = 5020 })
    consumer.stop(program)
    local left = take_left(old)
    assert.same(sequence(stopped.acked + 1, 2000), left)
    assert_all_ready(new, 0)
  end)

  it("that is wrong: all stays as it was, and each problem is logged", function()
    local queue, count = rabbit.queue "signals", 1000
    consumer.fill(queue, count)
    local program, space = start { of(queue) }
    consumer.wait_handled(program, 50)
    local at = 0
    for _, case in ipairs {
      { "return { consumers = ", "moonrabbit.lua" },
      { ("return { consumers = { %s } }"):format(of(queue, "prefetsh = 3")), "prefetsh" },
      { ("return { consumers = { %s } }"):format(of(queue, "workers = 'many'")), "workers" },
      { "error 'on purpose'", "on purpose" },
    } do
      space:write("moonrabbit.lua", case[1])
      at = hang_up(program, at)
      local _, line = wait_log(program, { msg = "configuration not reloaded; the old one stays" }, at)
      assert.equal("error", line.level)
      assert.is_truthy(line.problem:find(case[2], 1, true), line.problem)
    end
    assert.equal(0, finish_all(program, queue, count).redelivered)
  end)

  it("and a handler that does not load: the consumer is not added, and the others stay", function()
    local queue, new = rabbit.queue "signals", rabbit.queue "signals-new"
    consumer.fill(queue, 1000)
    local program, space = start { of(queue) }
    consumer.wait_handled(program, 50)
    space:write("broken.lua", "return nil")
    configure(space, { of(queue), ("{ queue = %q, handler = 'broken.lua' }"):format(new) })
    hang_up(program)
    local _, line = wait_log(program, { msg = "consumer not started", consumer = new })
    assert.is_truthy(line.error:find("broken.lua", 1, true), line.error)
    assert.equal(0, consumers_of(new))
    finish_all(program, queue, 1000)
  end)

  it("twice quickly: what the first began and the second does not want leaves, and nothing is there twice",
    function()
      local queue, new, unwanted = rabbit.queue "signals", rabbit.queue "new", rabbit.queue "unwanted"
      consumer.fill(queue, 1000)
      local program, space = start { of(queue) }
      consumer.wait_handled(program, 50)
      -- In a file of its own: workers read it when they come to it, maybe after the second reload has begun.
      consumer.write_handler(space, "spin(2) " .. SLOW, "late.lua")
      local late = "handler = 'late.lua'"
      configure(space, { of(queue, "prefetch = 20, " .. late), of(new, late), of(unwanted, late) })
      local at = hang_up(program)
      configure(space, { of(queue), of(new) })
      at = hang_up(program, at)
      wait_log(program, { msg = "reloaded: new workers have taken over", consumer = queue }, at)
      wait_log(program, consuming(new, 10))
      wait_log(program, { msg = "consumer stopped", queue = unwanted })
      consumer.wait_handled(program, 1000)
      assert.same({ 1, 1, 0 }, { consumers_of(queue), consumers_of(new), consumers_of(unwanted) })
      assert.same({}, consumer.told(program, "consumer not started; the old one, if any, stays"))
      finish_all(program, queue, 1000)
    end)
end)
