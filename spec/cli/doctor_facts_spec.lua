-- What the doctor gathers before it judges, from a world that is made up here: a broker that goes away
-- half-way, queues that grow, an HTTP API of many pages, or of other versions. No broker is needed, and no
-- program.
local cjson = require "cjson"
local doctor = require "support.doctor"

local MANAGEMENT = "http://box:15672"

describe("the doctor's facts", function()
  local clock, told, asked
  local gather_facts, gather_management

  setup(function()
    package.loaded["moonrabbit.host"] = { now = function() return clock end, format_size = tostring,
      format_duration = tostring }
    package.preload["moonrabbit.doctor_system"] = function()
      return function() return { machine = {}, processes = {} } end
    end
    gather_management = doctor.script "doctor_management"
    gather_facts = doctor.script "doctor_facts"
  end)

  teardown(function()
    for _, name in ipairs { "host", "doctor_system", "doctor_management", "doctor_facts" } do
      package.loaded["moonrabbit." .. name], package.preload["moonrabbit." .. name] = nil, nil
    end
  end)

  before_each(function() clock, told, asked = 0, { unseen = {}, failures = {} }, {} end)

  local tell = {
    unseen = function(what, why) told.unseen[#told.unseen + 1] = what .. ": " .. why end,
    failure = function(what, why) told.failures[#told.failures + 1] = what .. ": " .. why end,
  }

  -- By AMQP.

  local CONFIG = { vhost = "/", consumers = { { queue = "a", dead_letter = "a.dead" }, { queue = "b" },
    { queue = "a" } } }

  -- `answers` by queue: a list of what count returns, one time after the other.
  local function broker(answers)
    local world = { slept = 0 }
    function world.check() return true end
    function world.connect() return "amqp://box:5672/%2f" end
    function world.count(name)
      asked[#asked + 1] = name
      return unpack(table.remove(answers[name], 1), 1, 3)
    end
    function world.sleep(seconds) world.slept, clock = world.slept + seconds, clock + seconds end
    return world
  end

  local function waiting(messages) return { { messages = messages, consumers = 0 } } end
  local function served(messages) return { { messages = messages, consumers = 1 } } end

  it("ask for each queue once, and again only where one waits for a consumer", function()
    local world = broker { a = { waiting(10), waiting(15) }, ["a.dead"] = { { false } }, b = { served(3) } }
    local facts = gather_facts(world, CONFIG, tell)
    assert.same({ "a", "a.dead", "b", "a" }, asked)
    assert.equal(1, world.slept)
    assert.same({ { name = "a", messages = 15, consumers = 0, growth = 5 },
      { name = "b", messages = 3, consumers = 1 } }, facts.queues)
    assert.same({}, told.failures)
    assert.matches("^limits of queues.*%-%-management", told.unseen[1])
  end)

  it("do not wait where none waits", function()
    local world = broker { a = { served(10) }, ["a.dead"] = { waiting(0) }, b = { served(3) } }
    gather_facts(world, CONFIG, tell)
    assert.equal(0, world.slept)
  end)

  it("go on without a queue that is not told of, and without a broker that has gone", function()
    local world = broker { a = { { nil, "403 locked", false } },
      ["a.dead"] = { { nil, "it has gone", true } } }
    local facts = gather_facts(world, CONFIG, tell)
    assert.same({ "a", "a.dead" }, asked)
    assert.same({ "the broker by AMQP: it has gone" }, told.failures)
    assert.equal("queue a: 403 locked", told.unseen[1])
    assert.same({}, facts.queues)
  end)

  it("are there without a broker", function()
    local world = broker {}
    function world.connect() return nil, "nobody is there" end
    local facts = gather_facts(world, CONFIG, tell)
    assert.is_nil(facts.amqp)
    assert.same({ "the broker by AMQP: nobody is there" }, told.failures)
    assert.same({ checked = true }, facts.handlers)
  end)

  -- By the HTTP API.

  local OVERVIEW = { rabbitmq_version = "4.1.0" }

  -- `answers` by path, without what follows a ?: a table, or a function of the page.
  local function management(answers)
    local world = {}
    function world.management() return MANAGEMENT end
    function world.get(path)
      asked[#asked + 1] = path
      local answer = answers[path:match "^/api([^?]*)"]
      if type(answer) == "function" then return answer(tonumber(path:match "[?&]page=(%d+)")) end
      if not answer then return 404, "{}" end
      return 200, cjson.encode(answer)
    end
    return world
  end

  local function pages(count)
    return function(page)
      local items = {}
      for i = 1, 500 do items[i] = { name = ("q%d-%d"):format(page, i) } end
      return 200, cjson.encode { items = items, page = page, page_count = count }
    end
  end

  it("take all pages", function()
    local world = management { ["/overview"] = OVERVIEW, ["/queues/%2F"] = pages(3) }
    local facts = gather_management(world, "/", tell)
    assert.equal(1500, #facts.queues)
    assert.equal("q3-500", facts.queues[1500].name)
  end)

  it("take so many objects and no more, and say so", function()
    local world = management { ["/overview"] = OVERVIEW, ["/queues/%2F"] = pages(1e9) }
    local facts = gather_management(world, "/", tell)
    assert.equal(10000, #facts.queues)
    local count = 0
    for _, path in ipairs(asked) do count = count + (path:find("/queues/", 1, true) and 1 or 0) end
    assert.equal(20, count)
    assert.matches("queues: only the first 10000 were looked at", table.concat(told.unseen, "\n"), nil, true)
  end)

  it("say of each part that is not there why", function()
    local facts = gather_management(management { ["/overview"] = OVERVIEW }, "/", tell)
    assert.equal("4.1.0", facts.version)
    assert.equal(5, #told.unseen)
    for _, text in ipairs(told.unseen) do assert.matches("answers with status 404", text) end
    assert.same({}, told.failures)
  end)

  it("say what a user without the tag monitoring is not told", function()
    gather_management(management { ["/overview"] = OVERVIEW, ["/nodes"] = function() return 401, "{}" end,
      ["/queues/%2F"] = function() return 403, "{}" end }, "/", tell)
    assert.matches("^memory, disk, descriptors, .*refuses the user %(401%).*tag monitoring", told.unseen[1])
    assert.matches("^queues: .*does not allow it %(403%)", told.unseen[2])
    assert.same({}, told.failures)
  end)

  it("ask nothing more where nobody answers any more, or it takes too long", function()
    local world = management { ["/overview"] = OVERVIEW,
      ["/nodes"] = function() return nil, "it has gone", "failed" end }
    gather_management(world, "/", tell)
    assert.equal(2, #asked)
    assert.same({ "the broker's management: it has gone" }, told.failures)
    asked = {}
    world = management { ["/overview"] = OVERVIEW, ["/nodes"] = function()
      clock = clock + 61
      return 200, "[]"
    end }
    gather_management(world, "/", tell)
    assert.equal(2, #asked)
    assert.matches("took more than 60 s", told.failures[2])
  end)

  it("go on after an answer that is too large", function()
    gather_management(management { ["/overview"] = OVERVIEW,
      ["/queues/%2F"] = function() return nil, "too large", "large" end }, "/", tell)
    assert.equal("queues: too large", told.unseen[2])
    assert.equal(6, #asked)
    assert.same({}, told.failures)
  end)

  it("know a limit by argument and by policy, and of two the smaller", function()
    local world = management { ["/overview"] = OVERVIEW, ["/queues/shop%20%2F1"] = { items = {
      { name = "a", arguments = { ["x-max-length"] = 10 },
        effective_policy_definition = { ["max-length"] = 5 } },
      { name = "b", effective_policy_definition = { ["message-ttl"] = 7 }, arguments = cjson.null },
      { name = "c", arguments = { ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = "k" },
        messages_details = { rate = 1.5 } },
    } } }
    local facts = gather_management(world, "shop /1", tell)
    assert.equal(5, facts.queues[1].max_length)
    assert.equal(7, facts.queues[2].ttl)
    assert.same({ "", "k", 1.5 }, { facts.queues[3].dead_letter_exchange, facts.queues[3].dead_letter_key,
      facts.queues[3].growth })
  end)

  it("add up a node's memory by category", function()
    local facts = gather_management(management {
      ["/overview"] = OVERVIEW,
      ["/nodes"] = { { name = "rabbit@box", running = true, mem_limit = "memory_monitoring_disabled" } },
      ["/nodes/rabbit%40box/memory"] = { memory = { binary = 1, mnesia = 2, queue_procs = 3,
        quorum_queue_procs = 4, connection_readers = 5, connection_other = 6, allocated_unused = "?",
        total = { rss = 100 } } },
    }, "/", tell)
    assert.same({ binaries = 1, mnesia = 2, queues = 7, connections = 11 }, facts.nodes[1].memory)
    assert.is_nil(facts.nodes[1].mem_limit)
    assert.is_true(facts.nodes[1].running)
  end)

  it("look exchanges up only where dead letters go to one", function()
    local facts = gather_management(management { ["/overview"] = OVERVIEW,
      ["/queues/%2F"] = { { name = "a", arguments = { ["x-dead-letter-exchange"] = "dead" } } },
      ["/exchanges/%2F"] = { items = { { name = "" }, { name = "dead" } } } }, "/", tell)
    assert.same({ [""] = true, dead = true }, facts.exchanges)
  end)
end)
