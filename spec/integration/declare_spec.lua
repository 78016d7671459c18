-- What `declare` says of a queue is what the broker has: bindings, the single active consumer, the delivery
-- limit, on every connection; what cannot be had is told. And what a start warns of: a queue without a bound,
-- rejected messages that nobody keeps.
local consumer = require "support.consumer"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local NO_BOUND = "the queue is declared without any bound: it may grow until the broker is full"
local NO_DEAD_LETTER = "no dead_letter is set"

local function publish(exchange, key, id)
  local connection = assert(rabbit.connect())
  assert(connection:confirm_select())
  assert(connection:publish(exchange, key, ('{"id":%d}'):format(id), { content_type = "application/json" }))
  assert(connection:close())
end

-- A consumer on a queue that is to be made, its configuration's `declare` given as Lua.
local function start(queue, declare, flags)
  local space = workspace.new()
  consumer.write_handler(space, consumer.TELL)
  space:write("moonrabbit.lua", ([[
    return { broker = { url = %q }, consumers = { { queue = %q, handler = "handler.lua", declare = %s } } }
  ]]):format(rabbit.url, queue, declare))
  return consumer.start_configured(space, flags)
end

-- A program that must fail: what it says at its end.
local function failure_of(queue, flags)
  local program = consumer.start(queue, consumer.TELL, flags)
  assert.equal(1, (program:wait(consumer.PATIENCE)), program:stderr())
  return consumer.told(program, "moonrabbit stopped by an error")[1].error
end

local function assert_words(text, ...)
  local at = 1
  for _, words in ipairs { ... } do
    local _, stop = text:find(words, at, true)
    assert(stop, ("%q is not in its place in: %s"):format(words, text))
    at = stop + 1
  end
end

describe("bindings", function()
  after_each(require "support.cleanup")

  it("bring what is published to their exchanges, and nothing else", function()
    local queue = rabbit.name "bound"
    local program = start(queue, ([[{ bindings = {
      { exchange = "amq.topic", routing_key = "%s.*" },
      { exchange = "amq.direct", routing_key = "%s" },
    } }]]):format(queue, queue))
    consumer.wait_consuming(program)
    publish("amq.topic", queue .. ".new", 1)
    publish("amq.topic", queue, 2)
    publish("amq.direct", queue, 3)
    consumer.wait_handled(program, 2)
    assert.same({ [1] = 1, [3] = 1 }, (consumer.times_handled(program)))
    assert.equal(2, consumer.stop(program).acked)
  end)

  it("come back with the queue, on a new connection to a broker that has lost it", function()
    local queue = rabbit.name "bound"
    local program = consumer.start(queue, consumer.TELL,
      { ["declare-durable"] = false, ["declare-bindings"] = "amq.topic=" .. queue .. ".#" })
    finally(function() assert(rabbit.ctl "start_app") end)
    local at = consumer.wait_consuming(program)
    assert(rabbit.ctl "stop_app")
    assert(rabbit.ctl "start_app")
    consumer.wait_consuming(program, at)
    publish("amq.topic", queue .. ".new", 1)
    consumer.wait_handled(program, 1)
    assert.equal(1, #consumer.told(program, NO_DEAD_LETTER))
    consumer.stop(program)
  end)

  it("to an exchange that is not there are told with its name", function()
    local queue = rabbit.name "unbound"
    assert_words(failure_of(queue, { ["declare-bindings"] = "amq.topic=a,no-such-exchange=b.*" }),
      "queue " .. queue, 'cannot be bound to the exchange no-such-exchange with the routing key "b.*"',
      "404 NOT_FOUND", "create the exchange, or correct its name in declare.bindings")
  end)
end)

describe("a queue is declared", function()
  after_each(require "support.cleanup")

  it("for a single active consumer: the second program waits until the first has gone", function()
    local queue = rabbit.name "single"
    local flags = { ["declare-single-active-consumer"] = "true" }
    local first = consumer.start(queue, consumer.TELL, flags)
    consumer.wait_consuming(first)
    local second = consumer.start(queue, consumer.TELL, flags)
    consumer.wait_consuming(second)
    consumer.fill(queue, 20)
    consumer.wait_handled(first, 20)
    consumer.stop(first)
    consumer.fill(queue, 5)
    consumer.wait_handled(second, 5)
    assert.equal(5, consumer.stop(second).delivered)
  end)

  it("with a delivery limit: the broker ends what comes back too often", function()
    local queue, dead = rabbit.name "limited", rabbit.queue "ended"
    local program = consumer.start(queue, 'return function(o, m) handled(o, m) return "requeue" end',
      { ["declare-type"] = "quorum", ["declare-delivery-limit"] = 2, ["declare-max-length"] = "none",
        ["declare-dead-letter-exchange"] = "", ["declare-dead-letter-routing-key"] = dead })
    consumer.wait_consuming(program)
    consumer.fill(queue, 1)
    assert(rabbit.eventually(function() return rabbit.queue_info(dead).messages == 1 end))
    assert.equal(3, consumer.stop(program).delivered)
  end)

  local QUORUM = { arguments = { ["x-queue-type"] = "quorum" } }

  for argument, case in pairs {
    ["x-single-active-consumer"] = { {}, { ["declare-single-active-consumer"] = "true" } },
    ["x-delivery-limit"] = { QUORUM, { ["declare-type"] = "quorum", ["declare-delivery-limit"] = 2 } },
  } do
    it("and one that is there without " .. argument .. " is told by that argument", function()
      local queue, flags = rabbit.queue("other", case[1]), case[2]
      flags["declare-max-length"] = "none"
      assert_words(failure_of(queue, flags), "queue " .. queue, "406 PRECONDITION_FAILED",
        "inequivalent arg '" .. argument .. "'", "make `declare` say what it has, or delete the queue")
    end)
  end

  it("with what goes together only", function()
    local space = workspace.new()
    local result = moonrabbit.run("check", consumer.write_handler(space, consumer.TELL), "--queue", "q",
      "--declare-delivery-limit", "5", "--declare-type", "classic")
    assert.equal(2, result.code)
    assert_words(result.err, "--declare-delivery-limit is 5, and --declare-type is \"classic\"",
      "only quorum queues count deliveries")
  end)
end)

describe("a start warns", function()
  after_each(require "support.cleanup")

  -- -> the warnings about the bound, those about dead letters
  local function warnings(queue, flags)
    flags["exit-when-idle"] = "0s"
    local program = consumer.start(queue, consumer.TELL, flags)
    consumer.finish(program)
    return consumer.told(program, NO_BOUND), consumer.told(program, NO_DEAD_LETTER)
  end

  it("of a queue that is declared without any bound, with the line to add", function()
    local bound = warnings(rabbit.name "free", { ["declare-max-length"] = "none" })
    assert.same({ 1, "warning", "declare = { max_length = 100000 }" },
      { #bound, bound[1].level, bound[1].add })
    for name, value in pairs { ["declare-max-bytes"] = "1MiB", ["declare-ttl"] = "1h" } do
      assert.same({}, (warnings(rabbit.name "bound", { ["declare-max-length"] = "none", [name] = value })))
    end
    assert.same({}, (warnings(rabbit.name "bound", { ["declare-durable"] = "true" })))
    assert.same({}, (warnings(rabbit.queue "found", {})))
  end)

  it("of no dead_letter, with what that means for the queue and the line to add", function()
    for words, flags in pairs {
      ["else the broker drops them"] = {},
      ["the broker drops rejected messages, unless a policy"] = { ["declare-max-length"] = 10 },
      ["go to the dead-letter exchange"] = { ["declare-dead-letter-exchange"] = "amq.direct" },
    } do
      local queue = next(flags) and rabbit.name "plain" or rabbit.queue "plain"
      local exchange = flags["declare-dead-letter-exchange"]
      local _, dead = warnings(queue, flags)
      assert.same({ 1, "warning", ('dead_letter = "%s.dead"'):format(queue), exchange },
        { #dead, dead[1].level, dead[1].add, dead[1].exchange })
      assert_words(dead[1].meaning, words)
    end
    local queue = rabbit.queue "kept"
    local _, dead = warnings(queue, { ["dead-letter"] = rabbit.name "kept.dead" })
    assert.same({}, dead)
  end)
end)
