-- Handlers may take as long as they like: the connection's heartbeats go on.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"

describe("heartbeats", function()
  after_each(require "support.cleanup")

  -- Every connection of the broker by its two ends: a new one would have another port.
  local function connections()
    local names = {}
    local rows = assert(rabbit.ctl("list_connections", "--quiet", "--no-table-headers", "name"))
    for name in rows:gmatch "[^\n]+" do
      names[#names + 1] = name
    end
    table.sort(names)
    return names
  end

  local function told_heartbeat(program)
    return assert(program:wait_log { msg = "connected" }).heartbeat_seconds
  end

  it("go on while every worker spins for more than two of them", function()
    local queue = rabbit.queue "heartbeat"
    local program = consumer.start(queue, [[
      return function(order, message)
        log.info("spins", { id = order.id })
        spin(9)
        handled(order, message)
      end
    ]], { workers = 2, ["broker-heartbeat"] = "2s", ["limits-deadline"] = "100s" })
    consumer.wait_consuming(program)
    assert.equal(2, told_heartbeat(program))
    local before = connections()
    consumer.fill(queue, 2)
    consumer.wait_handled(program, 2)
    assert.same(before, connections())
    assert.equal(0, consumer.stop(program).redelivered)
    assert.equal(0, consumer.told(program, "moonrabbit stopped")[1].reconnects)
    assert.same({}, (consumer.missing(program, 2)))
    consumer.assert_left(queue, 0)
  end)
end)
