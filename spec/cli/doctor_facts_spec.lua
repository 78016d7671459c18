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
      for i = 1, 500 do items[i] = { name = ("q%d-%d"):format(page, i), messages = i } end
      return 200, cjson.encode { items = items, page = page, page_count = count }
    end
  end

  -- With what the broker's statistics have of it.
  local function queue(name)
    return { name = name, messages = 1, consumers = 1 }
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

  it("say of what the broker has no statistics", function()
    local world = management { ["/overview"] = OVERVIEW, ["/nodes"] = { { name = "n" } },
      ["/nodes/n/memory"] = { memory = {} }, ["/queues/%2F"] = { { name = "young" }, queue "old" } }
    gather_management(world, "/", tell)
    assert.matches("^memory in use: nodes of 1 out of 1: the broker has no statistics", told.unseen[1])
    assert.matches("messages and consumers: queues of 1 out of 2: ", table.concat(told.unseen, "\n"))
  end)

  it("know for how long a channel is idle, in the formats of all versions", function()
    local before = os.time() - 75
    local facts = gather_management(management { ["/overview"] = OVERVIEW, ["/channels"] = {
      { name = "a", idle_since = os.date("!%Y-%m-%dT%H:%M:%S.123+00:00", before) },
      { name = "b", idle_since = os.date("!%Y-%m-%d %H:%M:%S", before) },
      { name = "c", idle_since = "2096-02-29 12:00:00" }, { name = "d", idle_since = "yesterday" },
      { name = "e", idle_since = "1970-01-01 00:00:00" },
    } }, "/", tell)
    local idle = {}
    for i, channel in ipairs(facts.channels) do idle[i] = channel.idle or "?" end
    assert.is_true(idle[1] >= 75 and idle[1] < 90 and idle[2] >= 75 and idle[2] < 90, idle[1])
    assert.same({ 0, "?" }, { idle[3], idle[4] })
    assert.is_true(math.abs(idle[5] - os.time()) < 15)
  end)

  it("look exchanges up only where dead letters go to one", function()
    local facts = gather_management(management { ["/overview"] = OVERVIEW,
      ["/queues/%2F"] = { { name = "a", arguments = { ["x-dead-letter-exchange"] = "dead" } } },
      ["/exchanges/%2F"] = { items = { { name = "" }, { name = "dead" } } } }, "/", tell)
    assert.same({ [""] = true, dead = true }, facts.exchanges)
  end)

  -- Whatever it answers.

  local STRANGE = { cjson.null, true, false, 0, -1, 1e300, 1.5, "", "\27[31m", ("x"):rep(5000), {}, { 1 },
    { a = {} } }

  -- A copy in which some values, by chance, are others.
  local function strange(value)
    if math.random() < 0.1 then return STRANGE[math.random(#STRANGE)] end
    if type(value) ~= "table" then return value end
    local copy = {}
    for key, item in pairs(value) do copy[key] = strange(item) end
    return copy
  end

  local SOUND = {
    ["/overview"] = { rabbitmq_version = "3.10.8",
      churn_rates = { connection_created_details = { rate = 9 } } },
    ["/nodes"] = { { name = "n", running = true, mem_used = 90, mem_limit = 100, mem_alarm = true,
      fd_used = 99, fd_total = 100, proc_used = 99, proc_total = 100, disk_free = 1, disk_free_limit = 2 } },
    ["/nodes/n/memory"] = { memory = { binary = 1e9, mnesia = 1e9, queue_procs = 1e9 } },
    ["/queues/%2F"] = { page_count = 1, items = { { name = "q", messages = 10, messages_unacknowledged = 1e6,
      consumers = 0, messages_details = { rate = 3 }, message_bytes = 5, arguments = { ["x-max-length"] = 10,
      ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = "gone", ["x-consumer-timeout"] = 5 },
      effective_policy_definition = { ["max-length-bytes"] = 3 } } } },
    ["/connections"] = { items = { { name = "c", user = "u", peer_host = "h", channels = 500,
      channel_max = 501, timeout = 0, protocol = "AMQP 0-9-1",
      client_properties = { product = "p", connection_name = "x" } } } },
    ["/channels"] = { items = { { name = "c (1)", messages_unacknowledged = 10, prefetch_count = 10,
      consumer_count = 1, message_stats = { ack_details = { rate = 1 } } } } },
    ["/consumers/%2F"] = { { consumer_tag = "t", queue = { name = "q" }, prefetch_count = 0,
      ack_required = true,
      channel_details = { name = "c (1)", connection_name = "c" } } },
  }

  it("are judged without a mistake whatever kinds of values come", function()
    local rules, found = doctor.script "doctor_rules", 0
    math.randomseed(1)
    for round = 1, 2000 do
      local answers = {}
      for path, answer in pairs(SOUND) do
        local given = round == 1 and answer or strange(answer)
        answers[path] = type(given) == "table" and given or nil
      end
      local facts = doctor.healthy()
      facts.management = gather_management(management(answers), "/", tell)
      facts.queues = facts.management and facts.management.queues or {}
      for _, rule in ipairs(rules) do
        for _, finding in ipairs(doctor.findings(rule, facts)) do
          assert(type(finding.object) == "string" and type(finding.what) == "string")
          assert(cjson.encode(finding))
          found = found + 1
        end
      end
      if round == 1 then assert.is_true(found >= 15, found) end
    end
  end)
end)
