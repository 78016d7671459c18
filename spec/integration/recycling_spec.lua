-- A Lua state is exchanged for a new one, and a process for another, without a message that notices: none is
-- lost, delivered twice or handled out of its order, and the log says why it was done.
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"

-- Tells of each message, and of the state's age in messages.
local COUNTING = [[
  local count = 0
  return function(order, message)
    count = count + 1
    log.info("handled", { id = order.id, attempt = message.attempt, count = count })
  end]]

-- Keeps 100 KB of each message.
local LEAKING = [[
  local kept = {}
  return {
    setup = function() log.info "setup" end,
    teardown = function() log.info("teardown", { kept = #kept }) end,
    handle = function(order, message)
      kept[#kept + 1] = ("x"):rep(100000) .. order.id
      handled(order, message)
    end,
  }]]

describe("recycling", function()
  after_each(require "support.cleanup")

  local function run(handler, count, flags)
    local queue = rabbit.queue "recycling"
    consumer.fill(queue, count)
    flags["max-messages"], flags.prefetch = flags["max-messages"] or count, 50
    local program = consumer.start(queue, handler, flags)
    local counts = consumer.finish(program)
    consumer.assert_left(queue, 0)
    return program, counts
  end

  local function assert_handled_in_order(program, counts, count)
    assert.same({ count, 0, 0, 0 }, { counts.acked, counts.redelivered, counts.failed, counts.worker_deaths })
    local lines = consumer.told(program)
    assert.equal(count, #lines)
    for i, line in ipairs(lines) do
      assert.same({ i, 1 }, { line.id, line.attempt })
    end
    return lines
  end

  it("comes after so many messages, and is told with its reason", function()
    local program, counts = run(COUNTING, 95, { ["recycle-messages"] = 10 })
    for i, line in ipairs(assert_handled_in_order(program, counts, 95)) do
      assert.equal((i - 1) % 10 + 1, line.count)
    end
    local told = assert(consumer.told(program, "Lua state recycled")[1])
    assert.same({ "messages", 10, 1 }, { told.reason, told.messages, told.worker })
    assert.is_true(told.age > 0 and told.pause > 0)
    assert.is_truthy(told.heap:match "^[%d.]+[KM]iB$" and told.peak:match "^[%d.]+[KM]iB$")
  end)

  it("comes when what lives is above recycle.memory, with setup and teardown around it", function()
    local program, counts = run(LEAKING, 200, { ["recycle-memory"] = "2MiB", ["limits-memory"] = "8MiB" })
    assert_handled_in_order(program, counts, 200)
    local told = assert(consumer.told(program, "Lua state recycled")[1])
    assert.equal("memory", told.reason)
    assert.is_true(told.messages >= 19 and told.messages <= 30, told.messages .. " messages")
    local teardowns = consumer.told(program, "teardown")
    assert.is_true(#teardowns >= 200 / 30)
    assert.equal(#teardowns, #consumer.told(program, "setup"))
    for _, line in ipairs(teardowns) do
      assert.is_true(line.kept <= 30, line.kept .. " kept")
    end
  end)

  it("for memory stops where the script is above it from the start, which is told once", function()
    local program, counts = run("local large = ('x'):rep(1000000)\n" .. COUNTING, 100,
      { ["recycle-memory"] = "512KiB", ["recycle-messages"] = 40 })
    assert_handled_in_order(program, counts, 100)
    local told = {}
    for _, line in ipairs(program:log_lines()) do
      if line.msg:find("recycle.memory is too low for this script", 1, true) then told[#told + 1] = line end
    end
    assert.equal(1, #told)
    assert.equal("warning", told[1].level)
    assert.equal(20, consumer.told(program)[100].count)
  end)

  it("follows a message that ran out of memory, which alone is tried again", function()
    local program, counts = run([[
      local count = 0
      return function(order, message)
        count = count + 1
        log.info("begun", { id = order.id, attempt = message.attempt, count = count })
        if order.id == 20 and message.attempt == 1 then
          local all = {}
          while true do all[#all + 1] = { pcall(string.rep, "x", 1000) } end
        end
        handled(order, message)
      end]], 50, { ["max-messages"] = 51, ["limits-memory"] = "8MiB", ["recycle-messages"] = 1000000 })
    assert.same({ 50, 1, 0, 0 },
      { counts.acked, counts.retried, counts.redelivered, counts.worker_deaths })
    assert.equal("out_of_memory", consumer.told(program, "Lua state recycled")[1].reason)
    for _, line in ipairs(consumer.told(program, "begun")) do
      assert.is_true(line.attempt == 1 or line.id == 20, line.id .. " was charged")
      assert.is_true(line.count <= 31, "the state went on")
    end
  end)

  it("of a process over recycle.process_memory has its successor ready first", function()
    local queue = rabbit.queue "recycling"
    -- What is kept, with what the process takes beside its state, is over the bound and within the quota; the
    -- latter alone is not: 8 MiB where AddressSanitizer checks.
    local program = consumer.start(queue, [[
      local large, kept = ("x"):rep(20000), {}
      return function(order, message)
        if order.id == 500 then
          for i = 1, 590 do kept[i] = large .. i end
        end
        handled(order, message)
        spin(0.0005)
      end]], {
        prefetch = 20, ["limits-memory"] = "12MiB", ["recycle-process-memory"] = "12MiB",
        ["recycle-memory"] = "12287KiB", ["memory-interval"] = "100ms",
      })
    consumer.wait_consuming(program)
    local before = program:children()[1]
    consumer.fill(queue, 1000)
    local replaced = assert(program:wait_log({ msg = "a worker process is replaced" },
      { timeout = consumer.PATIENCE }))
    assert.equal("it has grown over recycle.process_memory", replaced.reason)
    assert.same({ before, 1 }, { replaced.pid, replaced.worker })
    consumer.wait_handled(program, 1000)
    assert.is_true(rabbit.eventually(function() return not process.alive(before) end))
    assert.equal(1, #program:children())
    assert_handled_in_order(program, consumer.stop(program), 1000)
    assert.equal(1, #consumer.told(program, "a worker process is replaced"))
  end)

  it("tries a script that is broken on disk by now, with the reason, until it loads", function()
    local queue = rabbit.queue "recycling"
    local program = consumer.start(queue, COUNTING, { ["recycle-messages"] = 10 })
    consumer.wait_consuming(program)
    program.space:write("handler.lua", "return nothing(")
    consumer.fill(queue, 50)
    local failed = assert(program:wait_log({ msg = "a worker failed to start; another follows" },
      { timeout = consumer.PATIENCE }))
    assert.matches("handler.lua:1:", failed.error, 1, true)
    assert.equal(10, #consumer.told(program))
    consumer.write_handler(program.space, COUNTING)
    consumer.wait_handled(program, 50)
    assert.equal(50, consumer.stop(program).acked)
    consumer.assert_left(queue, 0)
  end)
end)
