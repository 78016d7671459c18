-- The monitor: it says so before a limit is reached, and where memory is critical it acts, without a message
-- that notices.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local MIB = 1024 * 1024

-- Handlers see what the monitor says of the whole program.
local ASKING = [[
  local memory = require "memory"
  return function(order)
    spin(0.05) -- for some looks to come by
    log.info("handled", { id = order.id, status = memory.check().status,
      over = memory.is_over_threshold(), critical = memory.is_critical() })
  end]]

describe("the monitor", function()
  after_each(require "support.cleanup")

  local function start(handler, flags)
    local queue = rabbit.queue "monitor"
    flags["memory-interval"] = "100ms"
    local program = consumer.start(queue, handler, flags)
    consumer.wait_consuming(program)
    return program, queue
  end

  local function wait_warning(program, msg)
    return assert(program:wait_log({ msg = msg, level = "warning" }, { timeout = consumer.PATIENCE }))
  end

  -- Of host and workers, shared pages counted once for each: more than the monitor counts.
  local function resident_mib(program)
    local bytes = process.rss(program.pid)
    for _, pid in ipairs(program:children()) do
      bytes = bytes + process.rss(pid)
    end
    return math.ceil(bytes / MIB)
  end

  it("says nothing where all is well", function()
    local program, queue = start(ASKING, { ["memory-warning"] = "1TiB", ["memory-critical"] = "2TiB",
      ["dead-letter"] = rabbit.name "monitor-dead" })
    consumer.fill(queue, 10)
    for _, line in ipairs(consumer.wait_handled(program, 10)) do
      assert.same({ "normal", false, false }, { line.status, line.over, line.critical })
    end
    consumer.stop(program)
    for _, line in ipairs(program:log_lines()) do
      assert.equal("info", line.level, line.msg)
    end
  end)

  it("warns when memory is over memory.warning, once a minute, and tells the handlers", function()
    local program, queue = start(ASKING, { ["memory-warning"] = "1MiB", ["memory-critical"] = "100GiB" })
    local told = wait_warning(program, "memory is over memory.warning")
    assert.same({ "warning", "100GiB", 0 }, { told.status, told.limit, told.percent })
    assert.is_truthy(told.usage:match "^[%d.]+MiB$" and told.peak:match "^[%d.]+MiB$")
    consumer.fill(queue, 10)
    for _, line in ipairs(consumer.wait_handled(program, 10)) do
      assert.same({ "warning", true, false }, { line.status, line.over, line.critical })
    end
    consumer.stop(program)
    assert.equal(1, #consumer.told(program, "memory is over memory.warning"))
  end)

  -- Each worker keeps so much of a message that asks for it, and is at that message for some looks.
  local HOARDING = [[
    local large, kept = ("x"):rep(100000), {}
    return function(order, message)
      for i = 1, order.id == 1 and 400 or 0 do kept[i] = large .. i end
      if order.id == 1 then spin(1) end
      handled(order, message)
    end]]

  it("recycles the largest worker when memory is critical, and nothing is lost by it", function()
    local flags = { workers = 2, prefetch = 20, ["memory-warning"] = "1GiB", ["memory-critical"] = "2GiB" }
    local program = start(HOARDING, flags)
    local fresh = resident_mib(program)
    consumer.stop(program)

    flags["memory-warning"], flags["memory-critical"] = fresh + 10 .. "MiB", fresh + 20 .. "MiB"
    local queue
    program, queue = start(HOARDING, flags)
    local workers = program:children()
    consumer.fill(queue, 1000)
    local told = assert(program:wait_log({ msg = "memory is critical", level = "error" },
      { timeout = consumer.PATIENCE }))
    assert.equal("critical", told.status)
    assert.is_true(told.percent >= 100)
    assert(program:wait_log({ msg = "Lua state recycled", reason = "asked" }))
    assert(program:wait_log({ msg = "memory is back to normal", level = "info" }))
    consumer.wait_handled(program, 1000)
    assert.same(workers, program:children())
    local counts = consumer.stop(program)
    assert.same({ 1000, 0, 0, 0 },
      { counts.acked, counts.redelivered, counts.failed, counts.worker_deaths })
  end)

  it("replaces the largest worker when a fresh state has not helped", function()
    local program = start(HOARDING, { ["memory-warning"] = "1GiB", ["memory-critical"] = "2GiB" })
    local fresh = resident_mib(program)
    consumer.stop(program)

    local queue
    program, queue = start("local all = {} for i = 1, 400 do all[i] = ('x'):rep(100000) .. i end\n" ..
      "return function(order, message) assert(#all == 400) handled(order, message) end",
      { ["memory-warning"] = fresh + 10 .. "MiB", ["memory-critical"] = fresh + 20 .. "MiB" })
    consumer.fill(queue, 1000)
    local told = assert(program:wait_log({ msg = "a worker process is replaced" },
      { timeout = consumer.PATIENCE }))
    assert.equal("memory is critical and it is the largest", told.reason)
    assert.is_true(rabbit.eventually(function() return not process.alive(told.pid) end))
    consumer.wait_handled(program, 1000)
    local counts = consumer.stop(program)
    assert.same({ 1000, 0, 0, 0 },
      { counts.acked, counts.redelivered, counts.failed, counts.worker_deaths })
  end)

  it("replaces one of two workers that take turns in being the largest", function()
    local flags = { workers = 2, ["memory-warning"] = "1GiB", ["memory-critical"] = "2GiB" }
    local program = start(HOARDING, flags)
    local fresh = resident_mib(program)
    consumer.stop(program)

    flags["memory-warning"], flags["memory-critical"] = fresh + 10 .. "MiB", fresh + 20 .. "MiB"
    program = start("local loads = require('cache').incr('loads', 1, 0)\n" ..
      "local all = {} for i = 1, 560 - 20 * loads do all[i] = ('x'):rep(100000) .. i end\n" ..
      "return function() return #all > 0 end", flags)
    local told = assert(program:wait_log({ msg = "a worker process is replaced" },
      { timeout = consumer.PATIENCE }))
    assert.equal("memory is critical and it is the largest", told.reason)
    assert.equal(0, consumer.stop(program).worker_deaths)
  end)

  it("warns before the limit of open descriptors", function()
    local WORKERS, FOR_A_START = 32, 8 -- descriptors that a start of a worker needs for a moment
    local program = start(consumer.TELL, { workers = WORKERS })
    local needed = process.fds(program.pid)
    consumer.stop(program)
    local handler = consumer.write_handler(workspace.new(), consumer.TELL)
    program = moonrabbit.start("run", handler, "--workers=" .. WORKERS, "--queue=" .. rabbit.queue "monitor",
      "--broker=" .. rabbit.url, "--memory-interval=100ms", { descriptors = needed + FOR_A_START })
    local told = wait_warning(program, "open descriptors come near the limit of the process")
    assert.equal(needed + FOR_A_START, told.bound)
    assert.is_true(told.used >= 0.8 * told.bound and told.used <= needed, told.used .. " descriptors")
    consumer.stop(program)
  end)

  it("warns when there are more sockets than it has use for", function()
    local handler = consumer.write_handler(workspace.new(), consumer.TELL)
    local with_sockets = [[
      for i in {1..20}; do exec {socket}<>"/dev/tcp/127.0.0.1/$0"; done
      exec "$@"]]
    local program = process.start { "bash", "-c", with_sockets, tostring(rabbit.port), moonrabbit.path, "run",
      handler, "--queue=" .. rabbit.queue "monitor", "--broker=" .. rabbit.url, "--memory-interval=100ms" }
    local line = assert(program:wait_for("many more sockets than workers and connections", consumer.PATIENCE))
    assert.is_truthy(line:find('"bound":12', 1, true))
    assert(program:kill "TERM")
    assert.equal(0, (program:wait(consumer.PATIENCE)))
  end)

  it("warns when channels come near broker.max_channels", function()
    local space, names = workspace.new(), { rabbit.queue "monitor", rabbit.queue "monitor" }
    consumer.write_handler(space, consumer.TELL)
    space:write("moonrabbit.lua", ([[return {
      broker = { url = "%s", max_channels = 2 },
      memory = { interval = "100ms" },
      consumers = { { queue = "%s", handler = "handler.lua" }, { queue = "%s", handler = "handler.lua" } },
    }]]):format(rabbit.url, names[1], names[2]))
    local program = consumer.start_configured(space)
    local told = wait_warning(program, "channels come near broker.max_channels")
    assert.same({ 2, 2 }, { told.used, told.bound })
    consumer.stop(program)
  end)
end)
