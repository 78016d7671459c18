-- `moonrabbit dead` on a real queue: what it shows, that looking changes nothing, that what is sent back is
-- in its old queue as it first was, and that nothing is lost whatever comes in between.
local amqp = require "amqp"
local cjson = require "cjson.safe"
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local cleanup = require "support.cleanup"

local PATIENCE_SECONDS = 120
local HOUR = 3600
local WINDOW = 1024 -- messages that it sends back at a time

local connection, source, dead

-- A dead letter as the host writes it; `with` goes over its headers.
local function bury(body, properties, with)
  local headers = {
    ["moonrabbit-reason"] = "error", ["moonrabbit-error"] = "handler.lua:3: no total\nstack traceback: ...",
    ["moonrabbit-queue"] = source, ["moonrabbit-exchange"] = "shop", ["moonrabbit-routing-key"] = "order.new",
    ["moonrabbit-attempt"] = 5, ["moonrabbit-time"] = amqp.field("T", os.time() - 2 * HOUR - 60),
    ["moonrabbit-host"] = "box", ["moonrabbit-consumer"] = "orders",
  }
  for name, value in pairs(with or {}) do headers[name] = value end
  local all = { delivery_mode = 2, headers = headers }
  for name, value in pairs(properties or {}) do all[name] = value end
  assert(connection:publish("", dead, body, all))
end

local function bury_many(count)
  for i = 1, count do bury(('{"id":%d}'):format(i), { message_id = "m-" .. i }) end
end

local function run(...)
  local arguments = { "dead", ... }
  arguments[#arguments + 1] = "--broker=" .. rabbit.url
  arguments[#arguments + 1] = { timeout = PATIENCE_SECONDS }
  return moonrabbit.run(unpack(arguments))
end

-- Runs it, which must go well; returns what it printed.
local function done(...)
  local result = run(...)
  assert.same({ 0, "" }, { result.code, result.err })
  return result.out
end

local function ids_of(messages)
  local ids = {}
  for _, message in ipairs(messages) do ids[#ids + 1] = message.properties.message_id end
  return table.concat(ids, " ")
end

-- What is in a queue now, which is empty then.
local function drain(queue)
  return assert(connection:drain(queue))
end

local function listed(...)
  local letters = {}
  for line in done("list", dead, "--json", ...):gmatch("[^\n]+") do
    letters[#letters + 1] = assert(cjson.decode(line))
  end
  return letters
end

local function ids_listed(...)
  local ids = {}
  for _, letter in ipairs(listed(...)) do ids[#ids + 1] = letter.id end
  return table.concat(ids, " ")
end

describe("moonrabbit dead", function()
  before_each(function()
    connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    source, dead = rabbit.queue "source", rabbit.queue "dead"
  end)

  after_each(cleanup)

  it("lists what is there in a table, and leaves it as it was", function()
    bury('{"id":1}', { message_id = "m-1" })
    bury(("x"):rep(2048), { message_id = "m-2" },
      { ["moonrabbit-reason"] = "rejected", ["moonrabbit-error"] = "no total", ["moonrabbit-attempt"] = 1 })
    assert(connection:publish("", dead, "stranger", {}))
    local out = done("list", dead)
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal(4, #lines)
    assert.matches("^ID +REASON +ATTEMPTS +AGE +SIZE +QUEUE +ERROR$", lines[1])
    local queue = source:gsub("%p", "%%%0")
    assert.matches("^m%-1 +error +5 +2h +8B +" .. queue .. " +handler%.lua:3: no total$", lines[2])
    assert.matches("^m%-2 +rejected +1 +2h +2KiB +" .. queue .. " +no total$", lines[3])
    assert.matches("^#%x+ +%- +%- +%- +8B +%- +%-$", lines[4])
    local starts = lines[1]:find("REASON", 1, true)
    assert.equal(starts, lines[2]:find("error", 1, true))
    assert.equal(out, done("list", dead))
    local left = drain(dead)
    assert.equal(3, #left)
    assert.equal("m-1", left[1].properties.message_id)
  end)

  it("says that a queue is empty, or not there", function()
    local result = run("list", dead)
    assert.same({ 0, "", "moonrabbit: " .. dead .. " is empty\n" }, { result.code, result.out, result.err })
    result = run("list", "no-such-queue")
    assert.same({ 1, "" }, { result.code, result.out })
    assert.matches("^moonrabbit: broker amqp://[^\n]*: there is no queue no%-such%-queue\n$", result.err)
  end)

  it("says that there is no broker", function()
    local result = moonrabbit.run("dead", "list", dead, "--broker=amqp://localhost:1")
    assert.equal(1, result.code)
    assert.matches("^moonrabbit: broker amqp://localhost:1/%%2f: cannot connect: Connection refused",
      result.err)
  end)

  it("looks at no more than it is told, and says that there is more", function()
    bury_many(5)
    local result = run("list", dead, "--max", "2")
    assert.equal(0, result.code)
    assert.matches("m%-2", result.out)
    assert.not_matches("m%-3", result.out)
    assert.equal(("moonrabbit: %s has 3 more messages than the 2 that were looked at: --max N looks at N\n")
      :format(dead), result.err)
    assert.equal("m-1 m-2 m-3 m-4 m-5", ids_of(drain(dead)))
  end)

  it("chooses by what letters say", function()
    bury("1", { message_id = "a" }, { ["moonrabbit-reason"] = "rejected" })
    bury("2", { message_id = "b" },
      { ["moonrabbit-error"] = "connection refused", ["moonrabbit-attempt"] = 3 })
    bury("3", { message_id = "c" }, { ["moonrabbit-time"] = amqp.field("T", os.time() - 10) })
    for filter, ids in pairs {
      ["id=b"] = "b", ["id!=b"] = "a c", ["reason=rejected"] = "a", ["reason!=rejected"] = "b c",
      ["error~refused"] = "b", ["attempts=3"] = "b", ["attempts!=3"] = "a c", ["older=1h"] = "a b",
      ["newer=1h"] = "c", ["queue=" .. source] = "a b c", ["exchange=shop"] = "a b c",
      ["routing_key~new"] = "a b c", ["consumer=orders"] = "a b c", ["host~o"] = "a b c",
    } do
      assert.same({ filter, ids }, { filter, ids_listed("--where", filter) })
    end
    assert.equal("b", ids_listed("--where=reason=error", "--where=older=1h"))
    local result = run("list", dead, "--where", "reason=other")
    assert.same({ 0, "", "moonrabbit: none of the 3 messages looked at is meant\n" },
      { result.code, result.out, result.err })
  end)

  it("shows one in full", function()
    bury("first", { message_id = "m-1" })
    bury('{"id":2}', { message_id = "m-2", content_type = "application/json", priority = 3 },
      { tenant = "a", deep = { 1, { x = 2.5 } }, ["moonrabbit-error"] = "one\n\27[31mtwo" })
    local page = done("show", dead, "m-2")
    for _, part in ipairs {
      "id                m-2\n", "reason            error\n", "attempts          5\n", " (2h ago)\n",
      "error             one\n                  \\x1b[31mtwo\n",
      "queue             " .. source .. "\n", "exchange          shop\n", "routing key       order.new\n",
      "consumer          orders\n", "host              box\n",
      "properties\n  message_id      m-2\n", "  content_type    application/json\n", "  priority        3\n",
      "  tenant          \"a\"\n", "  deep            [1,{\"x\":2.5}]\n", "body: 8B\n{\"id\":2}\n",
    } do
      assert.truthy(page:find(part, 1, true), ("%q is not in %s"):format(part, page))
    end
    assert.not_matches("first", page)
    assert.not_matches("moonrabbit%-", page)
    assert.matches("^id +m%-1\n", done("show", dead))
    assert.equal("m-1 m-2", ids_of(drain(dead)))
  end)

  it("prints a body as it came", function()
    local body = ("\0\1\255\27[31m\n"):rep(10000)
    bury(body, { message_id = "m-1" })
    assert.equal(body, done("show", dead, "m-1", "--body"))
    local page = done("show", dead)
    assert.matches("body: %S+, the first 4KiB; %-%-body prints it whole\n\\x00\\x01\\xff\\x1b%[31m\n", page)
    assert.is_true(#page < 20000)
    local letter = assert(cjson.decode((done("show", dead, "--json"))))
    assert.equal(#body, letter.bytes)
    assert.equal("AAH/G1szMW0K", letter.body_base64:sub(1, 12))
  end)

  it("says that there is nothing to show", function()
    bury_many(1)
    local result = run("show", dead, "m-7")
    assert.same({ 1, "", "moonrabbit: none of the 1 message looked at is meant\n" },
      { result.code, result.out, result.err })
  end)

  it("sends letters back as they first were", function()
    local body = ("\0\1\255"):rep(300000)
    bury(body, { message_id = "m-1", content_type = "x", content_encoding = "y", correlation_id = "c",
      reply_to = "r", timestamp = 1767225600, priority = 7, type = "order", app_id = "shop" },
      { tenant = "a", list = { 1, "x" } })
    assert.equal("sent back 1 message\n", done("retry", dead))
    assert.equal(0, #drain(dead))
    local message = assert(connection:get(source))
    assert.equal(body, message.body)
    local given = message.properties
    assert.same({ "m-1", "x", "y", "c", "r", 1767225600, 7, "order", "shop", 2 },
      { given.message_id, given.content_type, given.content_encoding, given.correlation_id, given.reply_to,
        given.timestamp, given.priority, given.type, given.app_id, given.delivery_mode })
    assert.same({ tenant = "a", list = { 1, "x" }, ["moonrabbit-exchange"] = "shop",
      ["moonrabbit-routing-key"] = "order.new" }, given.headers)
  end)

  it("sends back those that are meant, in their order, and leaves the others in theirs", function()
    bury_many(6)
    assert.equal("sent back 2 messages\n", done("retry", dead, "m-4", "m-2"))
    assert.equal("sent back 1 message\n", done("retry", dead, "--where", "id=m-5"))
    assert.equal("m-2 m-4 m-5", ids_of(drain(source)))
    assert.equal("m-1 m-3 m-6", ids_of(drain(dead)))
  end)

  it("tells messages without an id apart, and knows each again", function()
    for i = 1, 3 do bury("body " .. i) end
    local before = listed()
    assert.equal(3, #before)
    assert.same(before, listed())
    done("retry", dead, before[2].id)
    assert.equal("body 2", drain(source)[1].body)
    assert.same({ before[1], before[3] }, listed())
  end)

  it("leaves a letter whose queue is gone, or full, and says so", function()
    local full = rabbit.queue("full",
      { arguments = { ["x-max-length"] = 1, ["x-overflow"] = "reject-publish" } })
    bury("1", { message_id = "m-1" }, { ["moonrabbit-queue"] = "no-such-queue" })
    bury("2", { message_id = "m-2" })
    bury("3", { message_id = "m-3" }, { ["moonrabbit-queue"] = full })
    bury("4", { message_id = "m-4" }, { ["moonrabbit-queue"] = full })
    bury("5", { message_id = "m-5" }, { ["moonrabbit-queue"] = "" })
    bury("7", { message_id = "m-7" }, { ["moonrabbit-queue"] = dead })
    bury("", { message_id = "m-6" }, { ["moonrabbit-body-bytes"] = 20000000 })
    local result = run("retry", dead)
    assert.same({ 1, "sent back 2 messages\n" }, { result.code, result.out })
    assert.matches("moonrabbit: m%-1 stays: no queue takes it\n", result.err)
    assert.matches("moonrabbit: m%-4 stays: the queue refuses it: it is full\n", result.err)
    assert.matches("moonrabbit: m%-5 stays: it does not say which queue it came from\n", result.err)
    assert.matches("moonrabbit: m%-6 stays: its body was too large for limits.message, and was left out\n",
      result.err)
    assert.matches("moonrabbit: m%-7 stays: it came from this very queue\n", result.err)
    assert.equal("m-1 m-4 m-5 m-7 m-6", ids_of(drain(dead)))
    assert.equal("m-2", ids_of(drain(source)))
    assert.equal("m-3", ids_of(drain(full)))
  end)

  it("sends back what the broker has dead-lettered itself", function()
    local exchange = source .. "-exchange"
    local queue = rabbit.queue("rejecting", { arguments = { ["x-dead-letter-exchange"] = "",
      ["x-dead-letter-routing-key"] = dead } })
    assert(connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    assert(connection:bind(queue, exchange, "orders.*"))
    assert(connection:publish(exchange, "orders.new", "once more",
      { message_id = "m-1", user_id = "guest", headers = { tenant = "a" } }))
    local rejecting = consumer.start(queue, 'return function() return "reject", "no" end',
      { ["max-messages"] = 1 })
    consumer.finish(rejecting)
    local letter
    assert(rabbit.eventually(function() letter = listed()[1] return letter end))
    assert.same({ "m-1", "rejected", queue, exchange, "orders.new", 1 },
      { letter.id, letter.reason, letter.queue, letter.exchange, letter.routing_key, letter.attempts })
    assert.equal("sent back 1 message\n", done("retry", dead))
    local one = consumer.start(queue, [[
      return function(body, message)
        local names = {}
        for name in pairs(message.headers) do names[#names + 1] = name end
        log.info("back", { body = body, exchange = message.exchange, key = message.routing_key,
          attempt = message.attempt, headers = table.concat(names, " "), user = message.user_id })
      end]], { ["max-messages"] = 1 })
    consumer.finish(one)
    local told = scene.find(one:log_lines(), "back")
    assert.same({ "once more", exchange, "orders.new", 1, "tenant", "guest" },
      { told.body, told.exchange, told.key, told.attempt, told.headers, told.user })
  end)

  it("drops what is meant, and only that", function()
    bury_many(4)
    assert.equal("dropped 2 messages\n", done("drop", dead, "m-1", "m-3", "--yes"))
    assert.equal("m-2 m-4", ids_of(drain(dead)))
  end)

  -- util-linux's script gives it a terminal, on which somebody types.
  local function drop_and_type(answer)
    local command = ("%s dead drop %s m-1 m-3 --broker=%s"):format(moonrabbit.path, dead, rabbit.url)
    return process.run({ "sh", "-c", ("printf '%s' | script -qec '%s' /dev/null"):format(answer, command) },
      { timeout = PATIENCE_SECONDS })
  end

  it("asks before it drops", function()
    bury_many(3)
    for _, answer in ipairs { "n\\n", "\\n", "yellow\\n", "\\004" } do
      local result = drop_and_type(answer)
      assert.matches("Drop 2 messages of " .. dead:gsub("%p", "%%%0") .. " for good%? %[y/N%]", result.out)
      assert.matches("dropped 0 messages", result.out)
    end
    assert.equal("m-1 m-2 m-3", ids_listed())
    assert.matches("dropped 2 messages", drop_and_type("y\\n").out)
    assert.equal("m-2", ids_listed())
  end)

  it("works on a quorum queue, too", function()
    dead = rabbit.queue("dead", { arguments = { ["x-queue-type"] = "quorum" } })
    bury_many(5)
    local counted = rabbit.eventually(function() return rabbit.queue_info(dead).messages == 5 end)
    assert.is_true(counted)
    assert.equal("m-1 m-2 m-3 m-4 m-5", ids_listed())
    assert.equal("sent back 2 messages\n", done("retry", dead, "m-2", "m-3"))
    assert.equal("dropped 1 message\n", done("drop", dead, "m-5", "--yes"))
    assert(rabbit.eventually(function() return rabbit.queue_info(dead).messages == 2 end))
    assert.equal("m-1 m-4", ids_of(drain(dead)))
    assert.equal("m-2 m-3", ids_of(drain(source)))
  end)

  it("leaves a quorum queue in its order, however many it looks at", function()
    dead = rabbit.queue("dead", { arguments = { ["x-queue-type"] = "quorum" } })
    bury_many(100)
    local ids = {}
    for i = 1, 100 do ids[i] = "m-" .. i end
    for _ = 1, 3 do
      assert(rabbit.eventually(function() return rabbit.queue_info(dead).messages == 100 end))
      assert.equal(table.concat(ids, " "), ids_listed())
    end
  end)

  it("loses nothing when it is killed half-way, and doubles no more than were under way", function()
    local COUNT = 10000
    local headers = { ["moonrabbit-reason"] = "error", ["moonrabbit-queue"] = source }
    consumer.fill(dead, COUNT, { headers = headers })
    local program = moonrabbit.start("dead", "retry", dead, "--max", tostring(COUNT),
      "--broker=" .. rabbit.url)
    assert(rabbit.eventually(function() return rabbit.queue_info(source).messages > 100 end))
    assert(program:kill "KILL")
    program:wait(PATIENCE_SECONDS)
    local back = rabbit.eventually(function()
      local there = rabbit.queue_info(dead).messages + rabbit.queue_info(source).messages
      return there >= COUNT
    end)
    assert.is_true(back)
    local seen, doubled = {}, 0
    for _, queue in ipairs { dead, source } do
      for _, message in ipairs(drain(queue)) do
        local id = message.properties.message_id
        doubled = doubled + (seen[id] and 1 or 0)
        seen[id] = true
      end
    end
    for i = 1, COUNT do assert.is_true(seen[tostring(i)], "message " .. i .. " is lost") end
    assert.is_true(doubled <= WINDOW, doubled .. " are there twice")
  end)
end)
