-- A leak is bounded, and costs no message:  moonrabbit test examples/leaky
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

local MIB = 2 ^ 20
local BODY = 64 * 1024
local MESSAGES = 500 -- 31 MiB in all: four times what the state may hold, 15 times what it keeps

describe("a handler that leaks", function()
  local worker

  before_each(function() worker = mr.worker(here .. "handler.lua", { config = here .. "moonrabbit.lua" }) end)
  after_each(function() worker:close() end)

  -- Each body is another one: equal strings are one string to Lua.
  local function deliver(i)
    return worker:deliver { body = ("%08d"):format(i) .. ("x"):rep(BODY - 8) }
  end

  it("has its state recycled for memory, in one process, and fails no message", function()
    local peak = 0
    for i = 1, MESSAGES do
      local r = deliver(i)
      assert.equal("ack", r.verdict)
      peak = math.max(peak, r.memory)
    end
    -- A message that brings the state over `recycle.memory` is told with the new state's memory.
    assert(peak > 1.5 * MIB and peak < 4 * MIB, ("the state's peak was %d bytes"):format(peak))
    local counts = worker:counts()
    assert.equal(1, counts.processes)
    assert(counts.recycled.memory >= 10, ("recycled %d times"):format(counts.recycled.memory))
  end)

  it("is told which variable it is", function()
    for i = 1, 100 do deliver(i) end
    local leaks = worker:leaks()
    assert.equal(1, #leaks)
    assert.same({ "upvalue 'kept' of handler.lua:13", "array" }, { leaks[1].path, leaks[1].kind })
    assert.equal(1, leaks[1].entries_per_message)
    assert(leaks[1].bytes_per_message >= BODY and leaks[1].bytes_per_message < BODY + 1024)
  end)

  it("begins again with nothing", function()
    for i = 1, 16 do deliver(i) end
    assert(worker:recycle().memory >= 16 * BODY)
    assert(worker:recycle().memory < 16 * BODY)
  end)
end)
