-- The variable that leaks is named in the log, by what production does by itself: a broker, the defaults, and
-- no more than 20,000 small messages. All shapes of leaks are tried in spec/cli/leaks_spec.lua.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local project = require "support.project"
local rabbit = require "support.rabbit"

local MESSAGES = 20000
local SHAPES = { "upvalue_table", "closure_list", "linked_list" }
local TOLD = "this grows with every message"

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

  local function run(name, count, ...)
    local queue = rabbit.queue "leaks"
    consumer.fill(queue, count)
    local program = moonrabbit.start("run", project.root .. "/" .. name, "--queue", queue, "--broker",
      rabbit.url, "--prefetch", "200", "--max-messages", tostring(count), ...)
    assert.equal(count, consumer.finish(program).acked)
    return consumer.told(program, TOLD)
  end

  for _, shape in ipairs(SHAPES) do
    it("names the variable of " .. shape, function()
      local name = "spec/leaks/" .. shape .. ".lua"
      local leaks, told = expected(name), run(name, MESSAGES)
      assert.equal(#leaks, #told)
      local line = told[1]
      assert.equal(("%s, %s, "):format(leaks[1][2], leaks[1][1]),
        line.leak:match "^(.*, )%d+ entries, %+%d%.%d per message, %+%d+ bytes per message$")
      assert.same({ "warning", 1 }, { line.level, line.worker })
      assert.is_truthy(line.looking_took:match "^%d+%.%d%d%%$")
    end)
  end

  it("names none where nothing grows", function()
    assert.same({}, run("spec/clean/bounded_cache.lua", MESSAGES))
  end)

  it("names what filled a state that was recycled for memory", function()
    local told = run("spec/leaks/array.lua", 8000, "--recycle-memory", "512KiB")
    assert.equal(1, #told)
    assert.is_truthy(told[1].leak:find("upvalue 'orders' of array.lua:5, array, ", 1, true))
  end)
end)
