-- A failed message waits in a delay queue and comes back as it was, one attempt later, when the policy says.
local consumer = require "support.consumer"
local mix = require "support.mix"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local scene = require "support.scene"

local function with(flags, more)
  local all = {}
  for name, value in pairs(flags) do all[name] = value end
  for name, value in pairs(more) do all[name] = value end
  return all
end

describe("a mixed load of failures", function()
  after_each(require "support.cleanup")

  local function run(count, options)
    local queue, dead = rabbit.queue("mix", options), rabbit.name "mix-dead"
    mix.fill(queue, count)
    local program = consumer.start(queue, mix.HANDLER,
      with(mix.FLAGS, { ["dead-letter"] = dead, ["exit-when-idle"] = consumer.IDLE }))
    local counts = consumer.finish(program)
    assert.equal(0, mix.assert_outcome(program, queue, dead, count))
    assert.same({ 0, 0, 0 }, { counts.redelivered, counts.rejected, counts.requeued })
    consumer.assert_left(queue, 0)
  end

  -- AddressSanitizer looks at the same paths with fewer messages, in the time that there is.
  local MESSAGES = moonrabbit.path:find("asan", 1, true) and 2000 or 10000

  it(("of %d messages ends with each where it belongs, nothing lost or twice"):format(MESSAGES), function()
    run(MESSAGES)
  end)

  it("ends so on a quorum queue", function()
    run(1000, { arguments = { ["x-queue-type"] = "quorum" } })
  end)
end)

describe("a message that fails", function()
  after_each(require "support.cleanup")

  local HANDLER = [[
    local describe = require "describe"
    return function(data, message)
      local seen = {}
      for _, name in ipairs { "body", "id", "exchange", "routing_key", "headers", "content_type",
        "correlation_id", "reply_to", "timestamp", "priority", "type", "app_id", "expiration",
        "delivery_mode", "redelivered" } do
        seen[name] = message[name]
      end
      require "log".info("seen", { attempt = message.attempt, message = describe(seen) })
      return message.attempt == 4
    end
  ]]

  it("comes back as its publisher wrote it, from where it was published to", function()
    local s, exchange = scene.new(HANDLER), rabbit.name "shop"
    assert(s.connection:declare_exchange(exchange, "topic", { auto_delete = true }))
    assert(s.connection:bind(s.queue, exchange, "order.*"))
    assert(s.connection:publish(exchange, "order.new", '{"id":1}', {
      content_type = "application/json", message_id = "m-1", correlation_id = "c-1", reply_to = "answers",
      timestamp = 1700000000, priority = 3, type = "order", app_id = "shop", expiration = "600000",
      delivery_mode = 2, headers = { tenant = "eu", nested = { list = { 1, 2 } } },
    }))
    local result = s:settle(4, "--retry-attempts", "5")
    local seen = scene.find_all(result.logs, "seen")
    assert.same({ 1, 2, 3, 4 }, { seen[1].attempt, seen[2].attempt, seen[3].attempt, seen[4].attempt })
    for i = 2, 4 do
      assert.equal(seen[1].message, seen[i].message)
    end
    assert.matches('routing_key: "order.new"', seen[4].message, 1, true)
    assert.equal(0, s:waiting())
  end)

  it("keeps the broker's notes of deaths elsewhere, and gets none of its delay queue", function()
    local s = scene.new(HANDLER)
    local source = rabbit.queue("deaths", { arguments = { ["x-dead-letter-exchange"] = "",
      ["x-dead-letter-routing-key"] = s.queue, ["x-message-ttl"] = 1 } })
    assert(s.connection:publish("", source, "x", { headers = { CC = { s.dead } } }))
    local result = s:settle(4, "--retry-attempts", "5")
    local seen = scene.find_all(result.logs, "seen")
    assert.matches('queue: "' .. source .. '"', seen[1].message, 1, true)
    assert.equal(seen[1].message, seen[4].message)
    assert.equal(1, #s:dead_letters(1)) -- the copy that its publisher had asked for, and no other
  end)

  -- Milliseconds of the day.
  local function time_of(line)
    local hours, minutes, seconds = line.time:match "T(%d+):(%d+):([%d.]+)Z"
    return ((hours * 60 + minutes) * 60 + seconds) * 1000
  end

  -- The broker and this machine may be slow, but nothing comes early.
  local function assert_wait(wanted, before, after)
    local waited = (time_of(after) - time_of(before)) % (24 * 3600 * 1000)
    assert.is_true(waited >= wanted - 5 and waited <= wanted * 1.2 + 20000,
      ("it waited %d ms, and not %d"):format(waited, wanted))
  end

  it("waits as long as the policy says, longer each time", function()
    local s = scene.new(HANDLER)
    s:publish "x"
    local seen = scene.find_all(s:settle(4, "--retry-attempts", "5", "--retry-delay", "300ms",
      "--retry-factor", "3", "--retry-max-delay", "1s", "--retry-jitter", "0").logs, "seen")
    assert_wait(300, seen[1], seen[2])
    assert_wait(900, seen[2], seen[3])
    assert_wait(1000, seen[3], seen[4])
  end)

  it("waits as long as its handler says", function()
    local s = scene.new [[
      return function(data, message)
        require "log".info("seen", { attempt = message.attempt })
        if message.attempt == 1 then return "retry", "700ms" end
        if message.attempt == 2 then return false, 0.25 end
      end
    ]]
    s:publish "x"
    local seen = scene.find_all(s:settle(3).logs, "seen")
    assert_wait(700, seen[1], seen[2])
    assert_wait(250, seen[2], seen[3])
  end)

  it("at once where the delay is none, and never as the same delivery", function()
    local s = scene.new(HANDLER)
    s:publish "x"
    local seen = scene.find_all(s:settle(4, "--retry-attempts", "5", "--retry-delay", "0s").logs, "seen")
    assert.equal(4, #seen)
    assert.equal(seen[1].message, seen[4].message)
  end)

  it("keeps the program from being idle until it has come back", function()
    local s = scene.new(HANDLER)
    s:publish "x"
    local result = moonrabbit.run("run", "handler.lua", "--queue", s.queue, "--broker", rabbit.url,
      "--retry-attempts", "5", "--retry-delay", "4s", "--retry-factor", "1", "--exit-when-idle", "2s",
      { cwd = s.space.path, timeout = consumer.PATIENCE })
    assert.equal(4, #scene.find_all(result.logs, "seen"))
    assert.equal(0, s:waiting())
  end)
end)
