-- The rate of a consumer: all its workers together take no more than it allows; the rest waits in the host,
-- or at the broker.
local consumer = require "support.consumer"
local linux = require "support.linux"
local rabbit = require "support.rabbit"

describe("rate", function()
  after_each(require "support.cleanup")

  -- Of 40 messages at 50 in a second five go at once, and the rest takes 0.7 s; a slow machine takes longer.
  it("holds what goes beyond it, of all workers together, and loses nothing", function()
    local queue = rabbit.queue "rate"
    consumer.fill(queue, 40)
    local began = linux.now()
    local program = consumer.start(queue, consumer.TELL,
      { rate = "50/s", workers = 2, prefetch = 100, ["max-messages"] = 40 })
    local counts = consumer.finish(program)
    assert.is_true(linux.now() - began >= 0.7)
    assert.equal(40, counts.acked)
    assert.same({ {}, 0 }, { consumer.missing(program, 40) })
  end)

  it("hands back in order what it holds when the program stops", function()
    local queue = rabbit.queue "rate"
    consumer.fill(queue, 20)
    local program = consumer.start(queue, consumer.TELL, { rate = "1/h", prefetch = 10 })
    consumer.wait_handled(program, 1)
    local counts = consumer.stop(program)
    assert.same({ 1, 0 }, { counts.acked, counts.failed })
    consumer.assert_left(queue, 19)
  end)

  it("goes on over a reload: what was taken stays taken, and a new rate holds at once", function()
    local queue = rabbit.queue "rate"
    local space = require "support.workspace".new()
    consumer.write_handler(space, consumer.TELL)
    local function configure(rate)
      space:write("moonrabbit.lua", ([[return { broker = { url = %q }, consumers = {
        { queue = %q, handler = "handler.lua", rate = %q, prefetch = 10 } } }]]):format(rabbit.url, queue,
          rate))
    end
    configure "1/h"
    consumer.fill(queue, 30)
    local program = consumer.start_configured(space)
    consumer.wait_handled(program, 1)
    local function reload(rate)
      local at = #program:log_lines()
      configure(rate)
      assert(program:kill "HUP")
      assert(program:wait_log({ msg = "reloaded: new workers have taken over" },
        { after = at, timeout = consumer.PATIENCE }))
    end
    reload "2/h"
    assert.equal(1, #consumer.told(program))
    reload "1000/s"
    consumer.wait_handled(program, 30)
    assert.equal(30, consumer.stop(program).acked)
  end)
end)
