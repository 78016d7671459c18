-- What is given up is published to the dead-letter queue with its reason, confirmed, and only then acked.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local utsname = require "posix.sys.utsname"

local function headers_of(letter)
  return letter.properties.headers
end

-- The letters, as soon as there are so many.
local function letters_in(s, queue, count)
  local letters = {}
  assert(rabbit.eventually(function()
    for _, letter in ipairs(assert(s.connection:drain(queue))) do
      letters[#letters + 1] = letter
    end
    return #letters >= count
  end))
  return letters
end

describe("a dead letter", function()
  after_each(require "support.cleanup")

  it("says why, where from, when and by whom", function()
    local s, dead = scene.new [[return function() return "reject", "an order without a total" end]],
      rabbit.name "letters"
    local began = os.time()
    s:publish("{}", { content_type = "application/json", message_id = "m-1", headers = { tenant = "eu" },
      expiration = "600000", delivery_mode = 2 })
    s:settle(1, "--dead-letter", dead)
    local letter = letters_in(s, dead, 1)[1]
    local headers = headers_of(letter)
    assert.same({ "rejected", "an order without a total", 1, s.queue, "", s.queue, s.queue, "eu", "600000" },
      { headers["moonrabbit-reason"], headers["moonrabbit-error"], headers["moonrabbit-attempt"],
        headers["moonrabbit-queue"], headers["moonrabbit-exchange"], headers["moonrabbit-routing-key"],
        headers["moonrabbit-consumer"], headers.tenant, headers["moonrabbit-expiration"] })
    assert.equal(utsname.uname().nodename, headers["moonrabbit-host"])
    assert.is_true(headers["moonrabbit-time"] >= began and headers["moonrabbit-time"] <= os.time())
    assert.same({ "{}", "m-1", "application/json", 2 }, { letter.body, letter.properties.message_id,
      letter.properties.content_type, letter.properties.delivery_mode })
    assert.is_nil(letter.properties.expiration)
    assert.equal(0, s:waiting())
    assert.equal(0, #assert(s.connection:drain(s.dead))) -- the broker's own way was not taken
  end)

  it("is made of what failed to the last, with the error", function()
    local s, dead = scene.new [[return function() error "on purpose" end]], rabbit.name "letters"
    s:publish "x"
    s:settle(3, "--dead-letter", dead, "--retry-attempts", "3")
    local headers = headers_of(letters_in(s, dead, 1)[1])
    assert.same({ "error", 3 }, { headers["moonrabbit-reason"], headers["moonrabbit-attempt"] })
    assert.matches("on purpose", headers["moonrabbit-error"], 1, true)
  end)

  it("is made of a body that cannot be decoded", function()
    local s, dead = scene.new [[return function() end]], rabbit.name "letters"
    s:publish("{", { content_type = "application/json" })
    s:settle(1, "--dead-letter", dead)
    local letter = letters_in(s, dead, 1)[1]
    assert.same({ "undecodable", "{" }, { headers_of(letter)["moonrabbit-reason"], letter.body })
  end)

  it("of a body that is too large has all but that, which the broker sends where it is told to", function()
    local s, dead = scene.new [[return function() end]], rabbit.name "letters"
    s:publish(("x"):rep(2000), { message_id = "m-1", headers = { tenant = "eu" } })
    s:settle(1, "--dead-letter", dead, "--limits-message", "1000")
    local letter = letters_in(s, dead, 1)[1]
    assert.same({ "too-large", 2000, "eu", "m-1", "" }, { headers_of(letter)["moonrabbit-reason"],
      headers_of(letter)["moonrabbit-body-bytes"], headers_of(letter).tenant, letter.properties.message_id,
      letter.body })
    assert.equal(2000, #s:dead_letters(1)[1].body)
  end)

  it("has headers as deep as they came, deeper than handlers can read them", function()
    local s, dead = scene.new [[return function() error "on purpose" end]], rabbit.name "letters"
    local deep, depth = {}, 100
    local innermost = deep
    for _ = 1, depth do
      innermost.deeper = {}
      innermost = innermost.deeper
    end
    innermost.tenant = "eu"
    s:publish("x", { headers = deep })
    s:settle(2, "--dead-letter", dead, "--retry-attempts", "2", "--retry-delay", "10ms")
    local found = headers_of(letters_in(s, dead, 1)[1])
    for _ = 1, depth do
      found = found.deeper
    end
    assert.equal("eu", found.tenant)
  end)

  -- The broker's notes about where a message died would make its header frame one that few clients can read.
  it("that has no room for marks in a frame has no headers of its own; the broker keeps the whole", function()
    local s, dead = scene.new [[return function() error "on purpose" end]], rabbit.name "letters"
    s:publish("x", { message_id = "m-1", headers = { large = ("x"):rep(130800) } })
    s:settle(2, "--dead-letter", dead, "--retry-attempts", "2")
    local letter = letters_in(s, dead, 1)[1]
    assert.same({ "error", true, "m-1", "x" }, { headers_of(letter)["moonrabbit-reason"],
      headers_of(letter)["moonrabbit-headers-left-out"], letter.properties.message_id, letter.body })
    assert.is_nil(headers_of(letter).large)
    assert(rabbit.eventually(function()
      return assert(rabbit.queue_info(s.dead)).messages == 1
    end))
    assert.equal(0, s:waiting())
  end)

  -- A message with these headers as it comes out of a queue where it has died.
  local function publish_by_death(s, headers)
    local exchange = rabbit.name "deaths"
    assert(s.connection:declare_exchange(exchange, "fanout", { auto_delete = true }))
    assert(s.connection:bind(s.queue, exchange, ""))
    local source = rabbit.queue("source", { arguments = { ["x-dead-letter-exchange"] = exchange,
      ["x-message-ttl"] = 1 } })
    assert(s.connection:publish("", source, "x", { message_id = "m-1", headers = headers }))
  end

  it("is not needed where only the broker's notes make a header frame larger than was agreed on", function()
    local s = scene.new [[
      return function(_, message)
        local queue = message.headers["x-first-death-queue"]
        require "log".info("seen", { bytes = #message.headers.large, died = queue and queue:match "^source" })
      end
    ]]
    publish_by_death(s, { large = ("x"):rep(130800) })
    local line = scene.find(s:settle(1).logs, "seen")
    assert.same({ 130800, "source" }, { line.bytes, line.died })
  end)

  it("of a message whose headers the broker has made too large has none of those", function()
    local s, dead = scene.new [[return function() end]], rabbit.name "letters"
    local copies = {}
    for i = 1, 300 do
      copies[i] = ("%03d-"):format(i) .. ("x"):rep(200)
    end
    publish_by_death(s, { CC = copies, large = ("x"):rep(60000) })
    s:publish "the next"
    s:settle(2, "--dead-letter", dead)
    local letter = letters_in(s, dead, 1)[1]
    assert.same({ "too-large", true, 1, "m-1", "" }, { headers_of(letter)["moonrabbit-reason"],
      headers_of(letter)["moonrabbit-headers-left-out"], headers_of(letter)["moonrabbit-body-bytes"],
      letter.properties.message_id, letter.body })
    assert.equal(0, s:waiting())
  end)

  it("that is consumed from its queue is a message at its first attempt", function()
    local s, dead = scene.new [[
      return function(_, message)
        local reason = message.headers["moonrabbit-reason"]
        require "log".info("seen", { attempt = message.attempt, reason = reason })
        return "reject", "again"
      end
    ]], rabbit.name "letters"
    s:publish "x"
    s:settle(1, "--dead-letter", dead)
    s.queue = dead
    local line = scene.find(s:settle(1).logs, "seen")
    assert.same({ 1, "rejected" }, { line.attempt, line.reason })
  end)
end)

describe("a dead-letter queue", function()
  local REJECT = [[return function() return "reject" end]]

  after_each(require "support.cleanup")

  it("that is full keeps messages where they are until there is room", function()
    local arguments = { ["x-max-length"] = 2, ["x-overflow"] = "reject-publish" }
    local dead = rabbit.queue("letters", { arguments = arguments })
    local queue = rabbit.queue "full"
    consumer.fill(queue, 5)
    local program = consumer.start(queue, REJECT, { ["dead-letter"] = dead })
    assert(program:wait_log({ msg = "cannot be moved to the dead-letter queue" },
      { timeout = consumer.PATIENCE }))
    local connection, letters, seen = assert(rabbit.connect()), 0, {}
    assert(rabbit.eventually(function()
      for _, letter in ipairs(assert(connection:drain(dead))) do
        assert.is_nil(seen[letter.body])
        seen[letter.body] = true
        letters = letters + 1
      end
      return letters == 5
    end, consumer.PATIENCE))
    local counts = consumer.stop(program)
    assert.same({ 5, 0, 0 }, { counts.dead_letters, counts.acked, counts.handed_back })
    consumer.assert_left(queue, 0)
  end)

  it("that is deleted is declared again", function()
    local dead, queue = rabbit.name "letters", rabbit.queue "again"
    local program = consumer.start(queue, REJECT, { ["dead-letter"] = dead })
    local connection = assert(rabbit.connect())
    for round = 1, 2 do
      consumer.fill(queue, 1, { from = round })
      assert(rabbit.eventually(function()
        local info = rabbit.queue_info(dead)
        return info and info.messages == 1
      end, consumer.PATIENCE))
      assert(connection:delete(dead))
    end
    assert.equal(2, consumer.stop(program).dead_letters)
  end)
end)
