-- The variable that leaks is named in the log, by what production does by itself: a broker, the defaults, and
-- no more than 20,000 small messages. All shapes of leaks are tried in spec/cli/leaks_spec.lua.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local project = require "support.project"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local MESSAGES = 20000
-- Of the time: one, and what a look takes too long on a busy machine, where AddressSanitizer checks ten times
-- as much; see leak_budget.h.
local MOST_PERCENT = moonrabbit.path:find("asan", 1, true) and 20 or 2
local SHAPES = { "upvalue_table", "closure_list", "linked_list" }
local SHAPES_AT_ONCE = {
  ["in tables"] = { "array", "closure_list", "coroutines", "string_concatenation", "upvalue_table" },
  ["in a list"] = { "doubly_linked" },
}
local AT_ONCE = 32
local CLEAN_AT_ONCE = tonumber(os.getenv "CLEAN_MESSAGES") or MESSAGES
local TOLD = "this grows with every message"

-- Each message waits, and meanwhile keeps what is its own: in locals, in a coroutine, in a function, and in a
-- table of what is under way. The order in which they end changes all the time.
local WAITING = [[
  local handlers = { %s }
  local under_way, latest = {}, {}

  return function(order, message)
    local body = message.body:rep(10)
    local wait = coroutine.wrap(function(text)
      local parts = { text, order.id }
      sleep(("%%dms"):format(order.id %% 3))
      return #parts
    end)
    under_way[message.id] = { order = order, body = body, tell = function() return body, order end }
    assert(wait(body) == 2)
    under_way[message.id] = nil
    latest[order.id %% 100] = body
    for _, handle in ipairs(handlers) do handle(order, message) end
  end
]]

-- { { kind, path }, … } as the script says at its top.
local function expected(name)
  local leaks = {}
  for kind, place in project.read(name):gmatch "%-%- Expect: ([^:\n]+): ([^\n]+)" do
    leaks[#leaks + 1] = { kind, place }
  end
  return leaks
end

describe("the leak doctor", function()
  after_each(require "support.cleanup")

  local function run(path, count, ...)
    local queue = rabbit.queue "leaks"
    consumer.fill(queue, count)
    local program = moonrabbit.start("run", path, "--queue", queue, "--broker", rabbit.url,
      "--prefetch", "200", "--max-messages", tostring(count), ...)
    assert.equal(count, consumer.finish(program).acked)
    return consumer.told(program, TOLD)
  end

  for _, shape in ipairs(SHAPES) do
    it("names the variable of " .. shape, function()
      local name = "spec/leaks/" .. shape .. ".lua"
      local leaks, told = expected(name), run(project.root .. "/" .. name, MESSAGES)
      assert.equal(#leaks, #told)
      local line = told[1]
      assert.equal(("%s, %s, "):format(leaks[1][2], leaks[1][1]),
        line.leak:match "^(.*, )%d+ entries, %+%d%.%d per message, %+%d+ bytes per message$")
      assert.same({ "warning", 1 }, { line.level, line.worker })
      assert(tonumber(line.looking_took:match "^(%d+%.%d%d)%%$") < MOST_PERCENT, line.looking_took)
    end)
  end

  it("names none where nothing grows", function()
    assert.same({}, run(project.root .. "/spec/clean/bounded_cache.lua", MESSAGES))
  end)

  -- After eight states only one in eight is looked at.
  it("names what begins to grow after a long time without anything", function()
    local path = workspace.new():write("late.lua", [[
      local kept = {}
      return function(order)
        if order.id > 12000 then kept[#kept + 1] = order end
      end
    ]])
    local told = run(path, 24000, "--recycle-messages", "1000")
    assert.equal(1, #told)
    assert.is_truthy(told[1].leak:find("upvalue 'kept' of late.lua:2, array, ", 1, true))
  end)

  it("names what filled a state that was recycled for memory", function()
    local told = run(project.root .. "/spec/leaks/array.lua", 8000, "--recycle-memory", "512KiB")
    assert.equal(1, #told)
    assert.is_truthy(told[1].leak:find("upvalue 'orders' of array.lua:5, array, ", 1, true))
  end)

  -- The handlers of these files, in one that waits.
  local function waiting(names)
    local space, calls = workspace.new(), {}
    for i, name in ipairs(names) do
      local module = name:match "([^/]+)%.lua$"
      space:write(module .. ".lua", project.read(name))
      calls[i] = ("require %q"):format(module)
    end
    return space:write("handler.lua", WAITING:format(table.concat(calls, ", ")))
  end

  local function run_at_once(names, count)
    return run(waiting(names), count, "--concurrency", tostring(AT_ONCE))
  end

  for where, shapes in pairs(SHAPES_AT_ONCE) do
    it("names what grows " .. where .. " while others are under way", function()
      local names, wanted, found = {}, {}, {}
      for i, shape in ipairs(shapes) do
        names[i] = "spec/leaks/" .. shape .. ".lua"
        for _, leak in ipairs(expected(names[i])) do wanted[#wanted + 1] = leak[2] .. ", " .. leak[1] end
      end
      for i, line in ipairs(run_at_once(names, MESSAGES)) do found[i] = line.leak:match "^(.-), %d" end
      table.sort(wanted)
      table.sort(found)
      assert.same(wanted, found)
    end)
  end

  it("names nothing of what is under way", function()
    local names = { "spec/clean/bounded_cache.lua", "spec/clean/coroutines.lua", "spec/clean/pool.lua" }
    assert.same({}, run_at_once(names, CLEAN_AT_ONCE))
  end)
end)
