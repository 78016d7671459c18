-- A failed message waits in a delay queue and comes back as it was, one attempt later, when the policy says.
local consumer = require "support.consumer"
local mix = require "support.mix"
local rabbit = require "support.rabbit"

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

  it("of 10,000 messages ends with each where it belongs, nothing lost and nothing twice", function()
    run(10000)
  end)

  it("ends so on a quorum queue", function()
    run(1000, { arguments = { ["x-queue-type"] = "quorum" } })
  end)
end)
