-- The cache of handlers through the real program: one for all workers, of a fixed size, and there for as long
-- as the program is.
local cjson = require "cjson"
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local workspace = require "support.workspace"

local cleanup = require "support.cleanup"

local MIB = 1024 * 1024

-- From here on a cache of 100 entries holds what is in them; see common/cache_layout.h.
local BEHIND_TABLES = 12 * 1024

-- Handlers can say `cache`, and `told(name, ...)` to tell of values as JSON.
local PRELUDE = [[
  local cache, cjson = require "cache", require "cjson"
  local function told(name, ...) log.info("told " .. name, { value = cjson.encode { ... } }) end
]]

local function start(queue, handler, flags)
  return consumer.start(queue, PRELUDE .. handler, flags)
end

-- What the handler told under this name, each time, in order.
local function told(program, name)
  local all = {}
  for i, line in ipairs(consumer.told(program, "told " .. name)) do all[i] = cjson.decode(line.value) end
  return all
end

local function wait_told(program, name, after)
  local line, at = program:wait_log({ msg = "told " .. name }, { after = after, timeout = consumer.PATIENCE })
  if not line then error(at .. ": " .. program:stderr():sub(-2000), 2) end
  return cjson.decode(line.value), at
end

-- The memory of the cache, as a file.
local function region_of(program)
  for descriptor, target in pairs(select(2, process.fds(program.pid))) do
    if target:find("moonrabbit-cache", 1, true) then
      return ("/proc/%d/fd/%d"):format(program.pid, descriptor)
    end
  end
  error("the program has no cache", 2)
end

local function wait_empty(queue)
  assert(rabbit.eventually(function() return rabbit.queue_info(queue).messages == 0 end))
end

describe("the cache", function()
  after_each(cleanup)

  it("is one for all workers: 10,000 increments by 4 of them are 10,000, and an id is new once", function()
    local queue = rabbit.queue "cache"
    consumer.fill(queue, 5000)
    consumer.fill(queue, 5000) -- the same ids once more
    local program = start(queue, [[
      return function(order, message)
        if order.id == 0 then return told("end", cache.get "all", cache.get "new", cache.size()) end
        if cache.add(message.id, true) then cache.incr("new", 1, 0) end
        cache.incr("all", 1, 0)
      end]], { workers = 4, prefetch = 200 })
    wait_empty(queue)
    consumer.fill(queue, 1, { from = 0 })
    assert.same({ 10000, 5000, 5002 }, (wait_told(program, "end")))
    assert.equal(10001, consumer.stop(program).acked)
  end)

  it("gives each of the numbers that it counts to one worker only", function()
    local queue, count = rabbit.queue "cache", 400
    consumer.fill(queue, count)
    local program = start(queue, [[return function() told("n", cache.incr("n", 1, 0)) spin(0.001) end]],
      { workers = 4, prefetch = 200, ["max-messages"] = count })
    consumer.finish(program)
    local seen, workers, busy = {}, {}, 0
    for _, line in ipairs(consumer.told(program, "told n")) do
      local number = cjson.decode(line.value)[1]
      assert.is_nil(seen[number])
      busy = busy + (workers[line.worker] and 0 or 1)
      seen[number], workers[line.worker] = true, true
    end
    assert.equal(count, #seen)
    assert.is_true(busy > 1)
  end)

  it("outlives recycled states, killed workers and a reload", function()
    local queue = rabbit.queue "cache"
    local handler = [[
      return function(order)
        told("%s", cache.incr("n", 1, 0), cache.get "table")
        cache.set("table", { by = "%s", ids = { order.id } })
      end]]
    local program = start(queue, handler:format("first", "first"), { ["recycle-messages"] = 1 })
    consumer.fill(queue, 2)
    local _, at = wait_told(program, "first")
    local second
    second, at = wait_told(program, "first", at)
    assert.same({ 2, { by = "first", ids = { 1 } } }, second)
    wait_empty(queue) -- no message is left to be handled twice
    assert(signal.kill(assert(program:children()[1]), signal.SIGKILL))
    consumer.fill(queue, 1, { from = 3 })
    assert.same({ 3, { by = "first", ids = { 2 } } }, (wait_told(program, "first", at)))
    consumer.write_handler(program.space, PRELUDE .. handler:format("second", "second"))
    assert(program:kill "HUP")
    assert(program:wait_log({ msg = "reloaded: new workers have taken over" },
      { timeout = consumer.PATIENCE }))
    consumer.fill(queue, 1, { from = 4 })
    assert.same({ 4, { by = "first", ids = { 3 } } }, (wait_told(program, "second")))
    assert.equal(1, consumer.stop(program).worker_deaths)
  end)

  it("never grows: a million keys on 10,000 entries", function()
    local queue = rabbit.queue "cache"
    local program = start(queue, [[
      return function(order)
        if order.id == 1 then return told("begun") end
        local most = 0
        for i = 1, 1000000 do
          assert(cache.set("key " .. i, i))
          if i % 1000 == 0 then most = math.max(most, cache.size()) end
        end
        told("done", most, cache.size(), cache.capacity(), cache.get "key 1000000", cache.stats())
      end]], { ["limits-deadline"] = "2m", ["cache-memory"] = "4MiB", ["cache-entries"] = 10000 })
    consumer.fill(queue, 1)
    wait_told(program, "begun")
    local region = region_of(program)
    local before = assert(stat.stat(region))
    consumer.fill(queue, 1, { from = 2 })
    local most, size, capacity, last, stats = unpack((wait_told(program, "done")))
    local after = assert(stat.stat(region))
    consumer.stop(program)
    assert.is_true(most <= 10000 and size <= 10000 and size > 9000)
    assert.is_true(capacity <= 10000 and capacity > 9900)
    assert.equal(1000000, last)
    assert.equal(1000000 - size, stats.evictions)
    assert.equal(size, stats.entries)
    assert.is_true(before.st_size <= 4 * MIB and before.st_size > 3 * MIB)
    assert.equal(before.st_size, after.st_size)
    assert.is_true(after.st_blocks * 512 <= after.st_size + 4096)
    assert.is_true(stats.bytes <= before.st_size)
  end)

  it("survives whatever a worker writes into its memory, and says that something was lost", function()
    local queue = rabbit.queue "cache"
    local program = start(queue, [[
      return function(order)
        if order.id == 1 then
          for i = 1, 50 do cache.set(i, { i }) end
          return told("filled", cache.size())
        end
        local found = 0
        for i = 1, 50 do found = found + (cache.get(i) and 1 or 0) end
        told("looked", found, cache.set("again", 1), cache.get "again", cache.stats().resets > 0)
      end]], { ["cache-memory"] = "128KiB", ["cache-entries"] = 100, ["memory-interval"] = "100ms" })
    consumer.fill(queue, 1)
    assert.same({ 50 }, (wait_told(program, "filled")))
    local region = assert(io.open(region_of(program), "r+b"))
    local size = assert(region:seek "end")
    assert(region:seek("set", BEHIND_TABLES))
    assert(region:write(("\1"):rep(size - BEHIND_TABLES)))
    assert(region:close())
    consumer.fill(queue, 1, { from = 2 })
    assert.same({ 0, true, 1, true }, (wait_told(program, "looked")))
    assert(program:wait_log({ msg = "parts of the cache were emptied" }, { timeout = consumer.PATIENCE }))
    local counts = consumer.stop(program)
    assert.same({ 2, 0, 0 }, { counts.acked, counts.failed, counts.worker_deaths })
  end)

  it("forgets what has expired, by the entry's ttl or by cache.ttl", function()
    local queue = rabbit.queue "cache"
    consumer.fill(queue, 1)
    local program = start(queue, [[
      return function()
        cache.set("by default", 1)
        cache.set("long", 1, "1h")
        cache.set("short", 1, 0.05)
        local default, long, short = cache.ttl "by default", cache.ttl "long", cache.ttl "short" or 0
        while cache.get "short" or cache.get "by default" do end
        told("ttl", default or 0, long, short, cache.has "long", cache.stats().expired)
      end]], { ["max-messages"] = 1, ["cache-ttl"] = "300ms" })
    consumer.finish(program)
    local default, long, short, there, expired = unpack(told(program, "ttl")[1])
    assert.is_true(default <= 0.3 and long > 3500 and long <= 3600 and short <= 0.05)
    assert.is_true(there)
    assert.equal(2, expired)
  end)

  it("counts for all workers together", function()
    local queue = rabbit.queue "cache"
    local program = start(queue, [[
      return function(order)
        if order.id <= 20 then cache.set(order.id, { order.id }) cache.get(order.id) cache.get "none" end
        told("stats", cache.stats())
      end]], { workers = 2, prefetch = 20 })
    consumer.fill(queue, 20)
    assert(program:wait_until(function() return #told(program, "stats") == 20 end, consumer.PATIENCE))
    consumer.fill(queue, 1, { from = 21 })
    assert(program:wait_until(function() return #told(program, "stats") == 21 end, consumer.PATIENCE))
    consumer.stop(program)
    local stats = told(program, "stats")[21][1]
    assert.is_true(stats.bytes >= 20 * 64 and stats.capacity <= 10000)
    stats.bytes, stats.capacity = nil, nil
    assert.same({ entries = 20, hits = 20, misses = 20, evictions = 0, expired = 0, resets = 0 }, stats)
  end)

  it("asks for a missing value once in each worker at the most", function()
    local queue, count = rabbit.queue "cache", 1000
    consumer.fill(queue, count)
    local program = start(queue, [[
      return function(order)
        local token = cache.fetch("token", "1h", function() spin(0.05) told("asked") return { "t", 1 } end)
        assert(token[1] == "t" and token[2] == 1)
      end]], { workers = 2, prefetch = 200, ["max-messages"] = count })
    assert.equal(count, consumer.finish(program).acked)
    assert.is_true(#told(program, "asked") >= 1 and #told(program, "asked") <= 2)
  end)
end)

describe("handler.md", function()
  after_each(cleanup)

  -- Each line of the page is a call, and behind --> what it returns; where that ends in "…" there is more.
  it("says what each function returns", function()
    local page = assert(io.open("runtime/doc/handler.md")):read("*a")
    local block = assert(page:match("One after the other.-```lua\n(.-)```"))
    local queue = rabbit.queue "cache"
    consumer.fill(queue, 1)
    local program = start(queue, ([[
      local function list(...) return { n = select("#", ...), ... } end
      local function same(wanted, got)
        if type(wanted) ~= "table" then return wanted == got end
        if not wanted.n and type(wanted[2]) == "string" then table.sort(got) table.sort(wanted) end
        for key, value in pairs(wanted) do
          if not same(value, got[key]) then return false end
        end
        return true
      end
      return function()
        local checked = 0
        for call, wanted in (%q):gmatch "\n(cache%%.[^\n]-) +%%-%%-> ([^\n]+)" do
          local got = list(load("local cache = ... return " .. call)(cache))
          local returned = load("return " .. wanted:gsub(", … }", " }"):gsub("^nothing$", ""))
          if returned then
            checked = checked + 1
            if not same(list(returned()), got) then told("wrong", call, got) end
          end
        end
        told("checked", checked)
      end]]):format(block), { ["max-messages"] = 1 })
    assert.equal(1, consumer.finish(program).acked)
    assert.same({}, told(program, "wrong"))
    assert.is_true(told(program, "checked")[1][1] >= 20)
  end)
end)

-- The configuration of the example, with a queue of the spec's own.
describe("examples/dedupe", function()
  after_each(cleanup)

  it("books each payment once", function()
    local queue, count = rabbit.queue "payments", 500
    local body = '{"id":"p-%d","account":"a","amount":2}'
    consumer.fill(queue, count, { body = body })
    consumer.fill(queue, count, { body = body })
    consumer.fill(queue, 1, { body = '{"id":"p-%d"}' })
    local space = workspace.new()
    local file = assert(io.open("examples/dedupe/moonrabbit.lua")):read("*a")
    local changed, places = file:gsub('queue = "payments"', ("queue = %q"):format(queue))
    assert.equal(1, places)
    changed = changed:gsub("declare = %b{},", "")
    space:write("moonrabbit.lua", changed)
    space:write("handler.lua", assert(io.open("examples/dedupe/handler.lua")):read("*a"))
    local program = consumer.start_configured(space,
      { broker = rabbit.url, ["max-messages"] = 2 * count + 1 })
    local counts = consumer.finish(program)
    assert.same({ 2 * count, 1, 0 }, { counts.acked, counts.rejected, counts.failed })
    local booked, balance, duplicates = {}, 0, 0
    for _, line in ipairs(consumer.told(program, "booked")) do
      assert.is_nil(booked[line.id])
      booked[line.id], balance = true, math.max(balance, line.balance)
    end
    for _, line in ipairs(consumer.told(program, "duplicate")) do
      duplicates = math.max(duplicates, line.duplicates)
    end
    assert.same({ 2 * count, count }, { balance, duplicates })
  end)
end)
