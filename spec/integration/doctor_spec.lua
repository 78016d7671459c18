-- `moonrabbit doctor` on a real broker with its HTTP API: what is planted is found, by name, and a broker and
-- program that are set up as README says show nothing that is worth a warning.
local cjson = require "cjson"
local consumer = require "support.consumer"
local linux = require "support.linux"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local PATIENCE_SECONDS = 120
local LOOK_EVERY_SECONDS = 0.5 -- seldom enough not to be told of as a client that opens many connections
local RANK = { info = 1, warning = 2, critical = 3 }

describe("doctor", function()
  local management, folder

  setup(function() management = rabbit.management() end)

  before_each(function()
    folder = workspace.new()
    folder:write("handler.lua", "return function() end")
  end)

  after_each(require "support.cleanup")

  -- Runs it with a broker; what it reports.
  local function look(...)
    local arguments = { "doctor", "--json", "--broker=" .. rabbit.url, ... }
    arguments[#arguments + 1] = { cwd = folder.path, timeout = PATIENCE_SECONDS }
    local result = moonrabbit.run(unpack(arguments))
    assert.same({ 0, "" }, { result.code, result.err })
    return cjson.decode(result.out)
  end

  local function with_management(...)
    return look("--management=" .. management, ...)
  end

  -- The one finding of a rule whose object has this name in it; nil where there is none.
  local function finding(report, rule, name)
    for _, found in ipairs(report.findings) do
      if found.rule == rule and found.object:find(name, 1, true) then return found end
    end
  end

  -- Looks until `condition(report)`: the broker's statistics come in their own time.
  local function look_until(condition, ...)
    local deadline = linux.now() + PATIENCE_SECONDS
    while true do
      local report = with_management(...)
      local value, why = condition(report)
      if value then return report, value end
      assert(linux.now() < deadline, why or cjson.encode(report))
      linux.sleep(LOOK_EVERY_SECONDS)
    end
  end

  -- Looks until all of these are found: { rule, a part of the object, severity, a part of what }.
  local function look_for(planted, ...)
    return look_until(function(report)
      for _, plant in ipairs(planted) do
        local found = finding(report, plant[1], plant[2])
        if not (found and found.severity == plant[3] and found.what:find(plant[4], 1, true)) then
          return nil, ("no finding %s: %s"):format(table.concat(plant, ", "), cjson.encode(report.findings))
        end
      end
      return true
    end, ...)
  end

  it("finds nothing worth a warning where all is set up as README says", function()
    local orders, mail = rabbit.name "doctor-orders", rabbit.name "doctor-mail"
    local dead = rabbit.name "doctor-dead"
    folder:write("moonrabbit.lua", ([[return {
      broker = { url = %q },
      status = { listen = "off" },
      consumers = {
        {
          queue = %q, handler = "handler.lua", workers = 2, prefetch = 50, dead_letter = %q,
          declare = { durable = true, max_length = 100000, overflow = "reject-publish" },
        },
        { queue = %q, handler = "handler.lua", retry = { attempts = 3 }, declare = { max_length = 100000 } },
      },
    }]]):format(rabbit.url, orders, dead, mail))
    local program = moonrabbit.start("run", { cwd = folder.path })
    assert(program:wait_log({ msg = "consuming", queue = orders }, { timeout = PATIENCE_SECONDS }))
    assert(program:wait_log({ msg = "consuming", queue = mail }, { timeout = PATIENCE_SECONDS }))
    consumer.fill(orders, 100)
    local report = look_until(function(report)
      local seen = table.concat(report.looked_at, "; ")
      return #report.not_looked_at == 0 and seen:find("2 consumers, 1 node", 1, true), cjson.encode(report)
    end)
    for _, found in ipairs(report.findings) do
      local of_others = found.layer == "system" -- of whatever else this machine does
      assert(RANK[found.severity] < RANK.warning or of_others, cjson.encode(found))
    end
    assert.is_truthy(finding(report, "no-dead-letter", mail))
    assert.matches("3 queues by name", report.looked_at[2])
  end)

  it("finds clients and consumers that hold too much", function()
    local hungry, lazy = rabbit.queue "doctor-hungry", rabbit.queue "doctor-lazy"
    local loose = rabbit.queue "doctor-loose"
    local deaf = assert(rabbit.connect { heartbeat = 0 })
    local all = assert(deaf:consume(hungry, 0))
    local many = assert(assert(rabbit.connect()):consume(hungry, 2000))
    local unacked = assert(assert(rabbit.connect()):consume(loose, 1, { no_ack = true }))
    consumer.fill(lazy, 6)
    assert(assert(rabbit.connect()):consume(lazy, 5))
    local found = look_for {
      { "no-heartbeat", "->", "warning", "user guest" },
      { "no-prefetch", all, "critical", "its prefetch is 0" },
      { "prefetch-high", many, "warning", "2,000" },
      { "auto-ack", unacked, "warning", "without acking" },
      { "unacked-near-prefetch", "->", "info", "5 unacked of 5 that it may hold, and no acks come" },
    }
    local greedy = finding(found, "no-prefetch", all)
    assert.equal("consumer " .. all .. " of queue " .. hungry, greedy.object)
    assert.matches("%(127.0.0.1:%d+ %-> 127.0.0.1:%d+%)$", greedy.what)
    assert.matches("connection moonrabbit spec %(127.0.0.1:%d+ ", finding(found, "no-heartbeat", "->").object)
  end)

  it("finds queues that grow, lose and mislead", function()
    local endless = rabbit.queue "doctor-endless"
    local full = rabbit.queue("doctor-full", { arguments = { ["x-max-length"] = 10 } })
    local lost = rabbit.queue("doctor-lost", { arguments = { ["x-max-length"] = 10,
      ["x-dead-letter-exchange"] = "doctor-nowhere" } })
    local late = rabbit.queue("doctor-late", { arguments = { ["x-max-length"] = 10,
      ["x-consumer-timeout"] = 1000 } })
    local dead = rabbit.queue "doctor-dead"
    consumer.fill(endless, 3)
    consumer.fill(full, 10)
    consumer.fill(dead, 1200)
    look_for({
      { "no-bound", endless, "warning", "no max-length" },
      { "no-consumers", endless, "warning", "3 messages, no consumer" },
      { "near-bound", full, "critical", "10 messages of at most 10" },
      { "dead-letter-target", lost, "critical", "exchange doctor-nowhere" },
      { "consumer-timeout", late, "critical", "waits 1s" },
      { "dead-letters", dead, "warning", "1,200 dead letters" },
      { "dead-letters-no-bound", dead, "warning", "no max-length" },
    }, "handler.lua", "--queue=" .. late, "--dead-letter=" .. dead)
  end)

  it("finds a memory alarm", function()
    rabbit.raise_memory_alarm()
    look_for { { "memory-alarm", "node ", "critical", "the memory alarm is on" } }
    rabbit.end_memory_alarm()
    look_until(function(report) return not finding(report, "memory-alarm", "node ") end)
  end)

  it("knows by AMQP alone what that tells, and says what it does not", function()
    local waiting, dead = rabbit.queue "doctor-waiting", rabbit.queue "doctor-dead"
    consumer.fill(waiting, 5)
    consumer.fill(dead, 2)
    local report = look("handler.lua", "--queue=" .. waiting, "--dead-letter=" .. dead)
    assert.equal("5 messages, no consumer", finding(report, "no-consumers", waiting).what)
    assert.equal("2 dead letters", finding(report, "dead-letters", dead).what)
    assert.equal(1, #report.not_looked_at)
    assert.matches("^no management URL is given", report.not_looked_at[1].why)
    report = look("handler.lua", "--queue=doctor-nobody", "--dead-letter=doctor-nobody.dead")
    assert.equal("critical", finding(report, "queue-missing", "queue doctor-nobody").severity)
    assert.is_nil(finding(report, "queue-missing", "doctor-nobody.dead"))
  end)

  it("leaves everything as it is", function()
    local queue = rabbit.queue "doctor-untouched"
    consumer.fill(queue, 5)
    with_management("handler.lua", "--queue=" .. queue)
    local messages = assert(assert(rabbit.connect()):drain(queue))
    assert.equal(5, #messages)
    for _, message in ipairs(messages) do assert.is_false(message.redelivered) end
  end)

  it("ends with exit code 1 for what --fail-on names, or worse", function()
    local function code(word, queue)
      local result = moonrabbit.run("doctor", "handler.lua", "--queue=" .. queue, "--broker=" .. rabbit.url,
        "--fail-on", word, "--memory-warning=1TiB", "--memory-critical=2TiB", -- for what else runs here
        { cwd = folder.path })
      assert.equal("", result.err)
      return result.code
    end
    local there, missing = rabbit.queue "doctor-exit", "doctor-nobody"
    assert.same({ 1, 1 }, { code("critical", missing), code("info", missing) })
    assert.same({ 0, 1 }, { code("critical", there), code("info", there) })
  end)

  it("says that the management refuses the user, and looks at all else", function()
    local wrong = management:gsub("guest:guest", "guest:wrong")
    local result = moonrabbit.run("doctor", "--broker=" .. rabbit.url, "--management=" .. wrong)
    assert.matches("^moonrabbit: management http://127.0.0.1:%d+ refuses the user %(401%): [^\n]+\n$",
      result.err)
    assert.not_matches("wrong", result.err .. result.out)
    assert.matches("looked at .*amqp://127.0.0.1", result.out)
    assert.equal(1, result.code)
  end)

  -- A server with the broker's certificate, which is for localhost; what is said of it.
  local function ask_over_tls(host, ...)
    local files = os.getenv "MR_BROKER_DIR" .. "/tls/server"
    local address = host == "localhost" and "127.0.0.1" or host
    local server = process.start { "openssl", "s_server", "-accept", address .. ":0", "-www", "-cert",
      files .. ".pem", "-key", files .. ".key" }
    local port = assert(server:wait_for "^ACCEPT"):match ":(%d+)$"
    return moonrabbit.run("doctor", "--broker=" .. rabbit.url,
      ("--management=https://guest:guest@%s:%s"):format(host, port), ...).err
  end

  it("asks over TLS only whom it can trust", function()
    local untrusted = "set broker.tls.ca to the file of the authority that signed its certificate"
    assert.matches(untrusted, ask_over_tls "localhost", nil, true)
    assert.matches(untrusted, ask_over_tls("127.0.0.2", "--broker-tls-ca=" .. rabbit.tls.ca), nil, true)
    assert.matches("does not answer in JSON", ask_over_tls("localhost", "--broker-tls-ca=" .. rabbit.tls.ca))
  end)
end)
