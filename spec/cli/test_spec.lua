-- `moonrabbit test` through the program itself: busted and the module moonrabbit.test. No broker is needed.
local moonrabbit = require "support.moonrabbit"
local workspace = require "support.workspace"

local HANDLER = [[
local log, cache = require "log", require "cache"
local function handle(order, message)
  if order.spin then string.find(("a"):rep(40), ("a*"):rep(40) .. "b") end
  if order.loop then while true do end end
  if order.hoard then local t = {} for i = 1, 1e7 do t[i] = ("x"):rep(1000) .. i end end
  if order.raise then error("no luck") end
  if not order.total then return "reject", "order without a total" end
  log.info("accepted", { id = order.id, free = order.total == 0, attempt = message.attempt })
  cache.incr("orders", 1, 0, "1h")
  return order.verdict, order.delay
end
return {
  setup = function() log.info("ready") end,
  handle = handle,
  teardown = function() log.info("bye") end,
}]]

local HEAD = [[
local mr = require "moonrabbit.test"
local worker
local function open(options) worker = mr.worker("orders.lua", options) end
after_each(function() if worker then worker:close() end worker = nil end)
]]

describe("moonrabbit test", function()
  local folder

  before_each(function()
    folder = workspace.new()
    folder:write("orders.lua", HANDLER)
  end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function test(...)
    local arguments = { "test", ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    return moonrabbit.run(unpack(arguments))
  end

  -- A spec of these statements passes.
  local function assert_passes(statements)
    folder:write("spec/it_spec.lua", HEAD .. 'it("holds", function()\n' .. statements .. "\nend)\n")
    local result = test("--output=TAP")
    assert.equal("", result.err)
    assert.matches("^ok 1 ", result.out)
    assert.equal(0, result.code)
  end

  it("shows what came of a message", function()
    assert_passes [[
      open()
      local r = worker:deliver { body = { id = 7, total = 0 } }
      assert.same({ "ack", "ack" }, { r.verdict, r.settlement })
      assert.same({ { level = "info", message = "accepted", fields = { id = 7, free = true, attempt = 1 } } },
        r.logs)
      assert.same({}, r.published)
      assert.is_true(r.elapsed > 0 and r.elapsed < 30 and r.memory > 1000)
      assert.is_nil(r.error or r.reason or r.cause)
      r = worker:deliver { body = {} }
      assert.same({ "reject", "reject", "order without a total" }, { r.verdict, r.settlement, r.reason })
      r = worker:deliver { body = { raise = true } }
      assert.same({ "error", "retry", "raised" }, { r.verdict, r.settlement, r.cause })
      assert.equal("orders.lua:6: no luck", r.error)
      assert.matches("stack traceback", r.traceback)
      r = worker:deliver { body = { total = 1, verdict = "retry", delay = "90s" } }
      assert.same({ "retry", 90 }, { r.verdict, r.delay })
      r = worker:deliver { body = "{", content_type = "application/json" }
      assert.same({ "error", "body", "reject" }, { r.verdict, r.cause, r.settlement })]]
  end)

  it("shows what would be published, and nothing of a handler that fails", function()
    folder:write("orders.lua", [[
      return {
        setup = function(worker) worker:publish("audit", "up", "here") end,
        handle = function(order, message)
          message:publish("billing", "invoice.create", { id = order.id },
            { headers = { by = { "me", 1 } }, priority = 3 })
          message:reply("done")
          if order.fail then error("no luck") end
        end,
      }]])
    assert_passes [[
      open()
      local r = worker:deliver { body = { id = 7 }, reply_to = "client", correlation_id = "c1" }
      assert.equal(2, #r.published)
      assert.same({ exchange = "billing", routing_key = "invoice.create", body = '{"id":7}', properties = {
        content_type = "application/json", headers = { by = { "me", 1 } }, priority = 3, delivery_mode = 2,
      } }, r.published[1])
      assert.same({ "", "client", "done", "c1" }, { r.published[2].exchange, r.published[2].routing_key,
        r.published[2].body, r.published[2].properties.correlation_id })
      assert.same({}, worker:deliver({ body = { fail = true }, reply_to = "client" }).published)
      assert.same({}, worker:deliver("no").published)
      local up = worker:published()
      assert.same({ 1, "audit", "up", "here" }, { #up, up[1].exchange, up[1].routing_key, up[1].body })
      assert.same({}, worker:published())]]
  end)

  it("gives a handler the headers that it is to see, those of a dead letter too", function()
    folder:write("orders.lua", [[
      return function(_, message)
        local headers = message.headers
        return "reject", ("%s %s %s"):format(headers["moonrabbit-reason"], headers.list[2], headers.deep.er)
      end]])
    assert_passes [[
      open()
      local headers = { ["moonrabbit-reason"] = "error", list = { 1, 2.5 }, deep = { er = true } }
      assert.equal("error 2.5 true", worker:deliver({ body = {}, headers = headers }).reason)
      assert.has_error(function() worker:deliver { headers = { deep = { er = print } } } end,
        "headers.deep.er is a function, which only lives in this worker")]]
  end)

  it("says what the last attempt comes to", function()
    assert_passes [[
      open { retry = { attempts = 3 } }
      for attempt, settlement in ipairs { "retry", "retry", "reject" } do
        local r = worker:deliver { body = { raise = true }, attempt = attempt }
        assert.same({ settlement, attempt }, { r.settlement, r.attempt })
      end]]
  end)

  it("tells the heap after each message, with what it keeps and its garbage", function()
    folder:write("orders.lua", [[
      local kept = {}
      return function(order) kept[#kept + 1] = ("x"):rep(1e6) .. order.id end]])
    assert_passes [[
      for _, concurrency in ipairs { 1, 4 } do
        open { concurrency = concurrency }
        for id = 1, 5 do
          local memory = worker:deliver({ body = { id = id } }).memory
          assert.is_true(memory >= id * 1e6 and memory < 4 * id * 1e6, id .. ": " .. memory)
        end
        worker:close()
        worker = nil
      end]]
  end)

  it("has the limits of production", function()
    assert_passes [[
      open {
        limits = { memory = "8MiB", deadline = "400ms", grace = "100ms" }, recycle = { memory = "6MiB" },
      }
      local r = worker:deliver { body = { spin = true } }
      assert.same({ "error", "killed", "retry" }, { r.verdict, r.cause, r.settlement })
      assert.equal("ack", worker:deliver { body = { total = 1 } }.verdict)
      assert.equal(2, worker:counts().processes)
      r = worker:deliver { body = { loop = true } }
      assert.is_true(r.cause == "time" or r.cause == "killed")
      assert.equal("memory", worker:deliver { body = { hoard = true } }.cause)
      assert.equal("ack", worker:deliver { body = { total = 1, text = ("x"):rep(1e6) } }.verdict)
      assert.equal("size", worker:deliver(("x"):rep(17 * 2 ^ 20)).cause)]]
  end)

  it("has a cache, and a clock that can be moved", function()
    assert_passes [[
      open()
      worker:deliver_all { { body = { total = 1 } }, { body = { total = 2 } } }
      local cache = worker:cache()
      assert.equal(2, cache.get("orders"))
      assert.equal(2, worker:recycle().messages)
      worker:deliver { body = { total = 3 } }
      assert.equal(3, cache.get("orders"))
      worker:advance("59m")
      assert.equal(3, cache.get("orders"))
      worker:advance(61)
      assert.is_nil(cache.get("orders"))
      cache.set("orders", 41)
      worker:deliver { body = { total = 4 } }
      assert.equal(42, cache.get("orders"))
      worker:close()
      assert.has_error(function() cache.get("orders") end, "this worker is closed")
      worker = nil]]
  end)

  it("answers how long a retry would wait, by the configured policy", function()
    assert_passes [[
      open { retry = { attempts = 5, delay = "2s", factor = 3, max_delay = "30s", jitter = 0 } }
      for attempt, seconds in ipairs { 2, 6, 18, 30 } do
        assert.same({ min = seconds, max = seconds }, worker:retry_delay(attempt))
        assert.same({ min = seconds, max = seconds }, worker:deliver({ body = { raise = true },
          attempt = attempt }).wait)
      end
      assert.is_nil(worker:retry_delay(5))
      assert.is_nil(worker:deliver({ body = { raise = true }, attempt = 5 }).wait)
      assert.is_nil(worker:deliver({ body = { total = 1 } }).wait)
      local r = worker:deliver { body = { total = 1, verdict = "retry", delay = "90s" }, attempt = 2 }
      assert.same({ 90, { min = 90, max = 90 } }, { r.delay, r.wait })
      for _, wrong in ipairs { 0, 1.5, -1, "x" } do
        assert.has_error(function() worker:retry_delay(wrong) end)
      end
      assert.has_error(function() worker:retry_delay(0) end,
        "the number of an attempt, 1 or more, is wanted")
      worker:close()
      open { retry = { delay = "10s", jitter = 0.5 } }
      assert.same({ min = 7.5, max = 12.5 }, worker:retry_delay(1))
      assert.same({ min = 15, max = 25 }, worker:retry_delay(2))]]
  end)

  it("tells the lines of no message apart", function()
    assert_passes [[
      open()
      assert.equal(1, #worker:deliver { body = { total = 1 } }.logs)
      local lines = worker:logs()
      assert.same({ 1, "ready" }, { #lines, lines[1].message })
      worker:close()
      lines = worker:logs()
      assert.equal("bye", lines[1].message)
      worker = nil]]
  end)

  it("refuses what makes no sense, where it stands", function()
    assert_passes [[
      open()
      assert.has_error(function() worker:deliver { bodi = 1 } end, "a message has no field bodi")
      assert.has_error(function() mr.worker("none.lua") end)
      assert.has_error(function() mr.worker("orders.lua", { limits = { memry = 1 } }) end,
        'there is no option "--limits-memry": did you mean --limits-memory?')
      assert.equal("ack", worker:deliver { body = { total = 1 } }.verdict)]]
  end)

  it("heeds a configuration where one is named, and never the environment", function()
    folder:write("moonrabbit.lua", 'return { consumers = { { queue = "q", handler = "orders.lua", ' ..
      'retry = { attempts = 1 } } } }')
    folder:write("spec/it_spec.lua", HEAD .. [[
      it("holds", function()
        open()
        assert.equal("retry", worker:deliver { body = { raise = true } }.settlement)
        worker:close()
        open { config = "moonrabbit.lua" }
        assert.equal("reject", worker:deliver { body = { raise = true } }.settlement)
      end)]])
    local result = moonrabbit.run("test", { cwd = folder.path, env = { MOONRABBIT_RETRY_ATTEMPTS = "1" } })
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("delivers 200 messages in well under a second", function()
    folder:write("spec/it_spec.lua", HEAD .. [[
      it("is quick", function()
        open()
        local list = {}
        for i = 1, 200 do list[i] = { body = { id = i, total = i } } end
        for i, r in ipairs(worker:deliver_all(list)) do
          assert.same({ "ack", i }, { r.verdict, r.logs[1].fields.id })
        end
      end)]])
    local result = test()
    assert.equal(0, result.code)
    local seconds = tonumber(result.out:match(": ([%d.]+) seconds"))
    print(("# 200 deliveries: a suite of %.3f s"):format(seconds))
    assert.is_true(seconds < 20) -- it takes 20 ms; a machine may be busy
  end)

  it("is busted: its files, options, output and exit codes", function()
    folder:write(".busted",
      'return { _all = { lua = "no-such-lua" }, ' ..
      'default = { pattern = "_check", ROOT = { "checks" }, helper = "helper.lua" } }')
    folder:write("helper.lua", "HELPED = true")
    folder:write("checks/one_check.lua", [[
      it("holds #good", function() assert.is_true(HELPED) end)
      it("fails #bad", function() assert.equal(1, 2) end)]])
    local result = test("--output=TAP")
    assert.equal(1, result.code)
    assert.matches("^ok 1 .*\nnot ok 2 ", result.out)
    assert.equal(0, test("--tags=good").code)
    assert.equal(1, test("--tags=bad").code)
    assert.matches("Usage: moonrabbit test ", test("--help").err)
    assert.equal(1, test("--no-such-option").code)
    result = test("none")
    assert.equal(1, result.code)
    assert.matches("Cannot find file or directory: none", result.out)
  end)

  it("lets luacov see what runs, and write it down at the end", function()
    folder:write("luacov/runner.lua", [[
      local seen = {}
      local function start()
        debug.sethook(function(_, line) seen[debug.getinfo(2, "S").short_src .. ":" .. line] = true end, "l")
        start = newproxy(true)
        getmetatable(start).__gc = function()
          if seen["spec/it_spec.lua:2"] then io.open("saved", "w"):close() end
        end
      end
      return setmetatable({ configuration = { exclude = {} } }, { __call = function() start() end })]])
    folder:write("spec/it_spec.lua", 'it("holds", function()\n  assert.is_true(true)\nend)')
    local result = moonrabbit.run("test", "--coverage",
      { cwd = folder.path, env = { LUA_PATH = folder.path .. "/?.lua;;" } })
    assert.same({ 0, "" }, { result.code, result.err })
    assert.truthy(folder:read "saved")
  end)

  it("has all of Lua, and busted's own modules in C", function()
    folder:write("spec/it_spec.lua", [[it("holds", function()
      assert.truthy(jit and io and debug and require "ffi" and require "lfs" and require "term")
      assert.equal('{"a":1}', require("cjson").encode { a = 1 })
      assert.same({ "x" }, require("cjson.safe").decode('["x"]'))
    end)]])
    assert.equal(0, test().code)
  end)

  it("says where busted is to be had", function()
    local result = moonrabbit.run("test", { cwd = folder.path, env = { LUA_PATH = "/nowhere/?.lua" } })
    assert.equal(2, result.code)
    assert.matches("^moonrabbit: busted cannot be loaded%. Debian has it in the package lua%-busted; ",
      result.err)
  end)
end)
