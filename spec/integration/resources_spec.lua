-- Nothing that the host holds grows with messages or reconnects: descriptors, threads, processes, memory.
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"

local MESSAGES, RECONNECTS = 100000, 20

describe("the host", function()
  after_each(require "support.cleanup")

  local function holdings(program)
    return {
      descriptors = process.fds(program.pid),
      threads = process.threads(program.pid),
      children = #program:children(),
    }
  end

  -- Until both connections stand: that for consuming, and that for publishing.
  local function wait_connected(program, at, publishing_at)
    local _, connected_at = assert(program:wait_log({ msg = "connected", purpose = "publishing" },
      { timeout = consumer.PATIENCE, after = publishing_at }))
    return consumer.wait_consuming(program, at), connected_at
  end

  it(("holds as much after %d messages and %d reconnects as before"):format(MESSAGES, RECONNECTS), function()
    local queue, copies = rabbit.queue "resources", rabbit.queue "resources-copies"
    consumer.fill(queue, 100)
    -- AddressSanitizer keeps freed memory aside, 256 MB of it if it may: that is no leak.
    local handler = ([[
      return function(order, message)
        if order.id %% 10 == 0 then message:publish("", "%s", order) end
      end
    ]]):format(copies)
    local program = consumer.start(queue, handler, { workers = 2, prefetch = 100 },
      { env = { ASAN_OPTIONS = "quarantine_size_mb=1" } })
    local at, publishing_at = wait_connected(program)
    assert.is_true(rabbit.eventually(function() return rabbit.queue_info(queue).messages == 0 end))
    local before, memory = holdings(program), process.rss(program.pid)
    for _ = 1, RECONNECTS do
      consumer.fill(queue, MESSAGES / RECONNECTS)
      rabbit.ctl("close_all_connections", "the spec asks for a reconnect")
      at, publishing_at = wait_connected(program, at, publishing_at)
    end
    assert.is_true(rabbit.eventually(function() return rabbit.queue_info(queue).messages == 0 end))
    assert.same(before, holdings(program))
    -- Pages that the allocator keeps are few; a leak of one message in a hundred would be megabytes.
    local grown = process.rss(program.pid) - memory
    assert.is_true(grown < 8 * 1024 * 1024, ("the host has grown by %d bytes"):format(grown))
    local counts = consumer.stop(program)
    assert.is_true(counts.acked >= MESSAGES + 100)
    assert.same({ ready = 0, unacked = 0, consumers = 0 }, rabbit.counts(queue))
    assert.is_true(rabbit.queue_info(copies).messages >= MESSAGES / 10)
  end)
end)
