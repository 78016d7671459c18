-- What a worker process has given up, as the kernel tells it: system calls, rights, descriptors, limits; what
-- it never had: environment, credentials; and what becomes of it all where the kernel refuses seccomp.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local signal = require "posix.signal"
local workspace = require "support.workspace"

local SANITIZED = moonrabbit.path:find("asan", 1, true) ~= nil
local WARNING = "workers run without a filter of their system calls (seccomp); all else that confines " ..
  "them holds"
local MIB = 1024 * 1024

describe("a worker process", function()
  after_each(require "support.cleanup")

  local function first_worker(program)
    return assert(program:children()[1])
  end

  local function limit(pid, name)
    local value = assert(process.proc(pid, "limits"):match("\n" .. name .. " +(%w+)"))
    return tonumber(value) or value
  end

  it("is confined while it works, and after its state was recycled", function()
    local queue = rabbit.queue "confined"
    local program = consumer.start(queue, [[
      return function(order, message)
        assert(require "late" == "read by each state anew")
        handled(order, message)
      end]], { ["recycle-messages"] = 10 })
    program.space:write("late.lua", 'return "read by each state anew"')
    consumer.wait_consuming(program)
    local pid = first_worker(program)
    consumer.fill(queue, 25)
    consumer.wait_handled(program, 25)
    assert.same({ pid }, program:children())
    assert.same({ 2, 1 }, { process.status(pid, "Seccomp"), process.status(pid, "NoNewPrivs") })
    assert.same({ 0, 32 }, { limit(pid, "Max core file size"), limit(pid, "Max open files") })
    if not SANITIZED then
      assert.equal(0, limit(pid, "Max processes"))
      -- Three times limits.memory, twice limits.message, the stack, the cache, and what is always there.
      assert.is_true(limit(pid, "Max address space") < 800 * MIB)
    end
    consumer.stop(program)
    assert.equal(2, scene.find(program:log_lines(), "consumer stopped").recycled)
  end)

  it("has no descriptors but its own", function()
    local program = consumer.start(rabbit.queue "confined", consumer.TELL)
    consumer.wait_consuming(program)
    local count, targets = process.fds(first_worker(program))
    assert.equal(7, count)
    assert.equal("/dev/null", targets[0])
    assert.equal(targets[1], targets[2]) -- the host's standard error
    assert.matches("^socket:", targets[3])
    assert.matches("^/memfd:moonrabbit%-board", targets[4])
    assert.matches("^/memfd:moonrabbit%-cache", targets[5])
    assert.equal(program.space.path, targets[6])
  end)

  -- The host has it all: password and paths in its environment, its memory, and in use.
  it("knows no credential, from no place", function()
    local space = workspace.new()
    local user, password = "confined", "no-worker-ever-knows-this"
    local marker = "a text that only the " .. "handler has"
    rabbit.ctl("add_user", user, password)
    rabbit.ctl("set_permissions", user, ".*", ".*", ".*")
    finally(function() rabbit.ctl("delete_user", user) end)
    local program = moonrabbit.start("run", space:write("handler.lua", ([[
      local marker = "%s"
      return function() return "reject", marker end]]):format(marker)), "--queue", rabbit.queue "confined", {
        env = {
          MOONRABBIT_BROKER = (rabbit.tls.url:gsub("//.-@", ("//%s:%s@"):format(user, password))),
          MOONRABBIT_BROKER_TLS_CA = rabbit.tls.ca,
          MOONRABBIT_BROKER_TLS_CERT = rabbit.tls.cert,
          MOONRABBIT_BROKER_TLS_KEY = rabbit.tls.key,
        },
      })
    assert(program:wait_log { msg = "consuming" })
    local host, worker = program.pid, first_worker(program)
    assert.equal("", process.proc(worker, "environ"))
    assert.matches("^moonrabbit%z@worker%zconfined[%w_.-]*/1%z$", process.proc(worker, "cmdline"))
    local secrets = { password, rabbit.tls.key, rabbit.tls.cert }
    local all = { [password] = true, [rabbit.tls.key] = true, [rabbit.tls.cert] = true }
    assert.same(all, process.find_in_memory(host, secrets))
    secrets[#secrets + 1] = marker -- so much for how well is looked
    assert.same({ [marker] = true }, process.find_in_memory(worker, secrets))
  end)

  it("ends with its host, whatever it is at and whatever the host died of", function()
    local queue = rabbit.queue "confined"
    consumer.fill(queue, 2)
    local program = consumer.start(queue, "return function(o, m) handled(o, m) while true do end end",
      { workers = 2, ["limits-deadline"] = "20m" })
    consumer.wait_handled(program, 2)
    local workers = program:children()
    assert.equal(2, #workers)
    assert(program:kill "KILL")
    program:wait()
    assert.is_true(rabbit.eventually(function()
      return not process.alive(workers[1]) and not process.alive(workers[2])
    end))
  end)

  it("that seccomp kills costs its own message one attempt, and the log names the reason", function()
    local queue = rabbit.queue "confined"
    consumer.fill(queue, 60)
    local program = consumer.start(queue, [[
      return function(order, message)
        handled(order, message)
        while order.id == 20 and message.attempt == 1 do end
      end]], { prefetch = 30, ["limits-deadline"] = "60s", ["exit-when-idle"] = "1s" })
    consumer.wait_handled(program, 20)
    assert(signal.kill(first_worker(program), 31)) -- SIGSYS, as the filter sends it
    local counts = consumer.finish(program)
    assert.same({ 60, 1, 1 }, { counts.acked, counts.retried, counts.worker_deaths })
    local line = scene.find(program:log_lines(),
      "a worker died and is replaced; what it had not finished goes to others")
    assert.matches("killed by seccomp (SIGSYS)", line.reason, 1, true)
    for _, told in ipairs(consumer.told(program)) do
      assert.is_true(told.attempt == 1 or told.id == 20, ("%d was charged"):format(told.id))
    end
  end)

  it("is filtered as the program was started, also after a reload that says otherwise", function()
    local space = workspace.new()
    local function configure(mode)
      space:write("moonrabbit.lua", ([[return { broker = { url = %q }, sandbox = { seccomp = %q },
        consumers = { { queue = %q, handler = "handler.lua" } } }]]):format(rabbit.url, mode, space.queue))
    end
    space.queue = rabbit.queue "confined"
    space:write("handler.lua", "return function() end")
    configure "required"
    local program = consumer.start_configured(space)
    consumer.wait_consuming(program)
    configure "off"
    assert(program:kill "HUP")
    assert(program:wait_log { msg = "changes of `sandbox` take effect at the next start", level = "warning" })
    assert(program:wait_log { msg = "reloaded: new workers have taken over" })
    assert.is_true(rabbit.eventually(function() return #program:children() == 1 end))
    assert.equal(2, process.status(first_worker(program), "Seccomp"))
  end)

  it("runs unfiltered where that is asked for", function()
    local program = consumer.start(rabbit.queue "confined", consumer.TELL, { ["sandbox-seccomp"] = "off" })
    consumer.wait_consuming(program)
    local pid = first_worker(program)
    assert.same({ 0, 1 }, { process.status(pid, "Seccomp"), process.status(pid, "NoNewPrivs") })
    assert.same({}, scene.find_all(program:log_lines(), WARNING))
  end)
end)

describe("where the kernel refuses seccomp", function()
  after_each(require "support.cleanup")

  local function arguments(mode)
    return "--broker", rabbit.url, "--workers", "3", "--sandbox-seccomp", mode, { refuse_seccomp = true }
  end

  local function handler()
    return workspace.new():write("handler.lua", "return function() end")
  end

  it("the program says so once, and works", function()
    local queue = rabbit.queue "confined"
    consumer.fill(queue, 20)
    local result = moonrabbit.run("run", handler(), "--queue", queue, "--max-messages", "20",
      arguments "on")
    assert.equal(0, result.code, result.err)
    local warnings = scene.find_all(result.logs, WARNING)
    assert.same({ 1, "warning" }, { #warnings, warnings[1].level })
    assert.matches("Permission denied", warnings[1].reason, 1, true)
    consumer.assert_left(queue, 0)
  end)

  it("the program does not start if seccomp is required", function()
    local result = moonrabbit.run("run", handler(), "--queue", "none", arguments "required")
    assert.equal(2, result.code, result.err)
    local line = scene.find(result.logs, "moonrabbit stopped by an error")
    assert.matches('sandbox.seccomp is "required", and seccomp is refused here', line.error, 1, true)
    assert.equal(2, moonrabbit.run("check", handler(), "--queue", "none", arguments "required").code)
  end)

  it("version tells it", function()
    assert.matches("\nlibseccomp [%d.]+: system calls of workers are filtered\n",
      moonrabbit.run("version").out)
    assert.matches("\nlibseccomp [%d.]+: refused here %(.-Permission denied%)\n",
      moonrabbit.run("version", { refuse_seccomp = true }).out)
  end)
end)
