-- Order: one worker keeps that of the queue; several keep it for each key, also over the death of a worker.
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local signal = require "posix.signal"

local KEYS = 30

describe("order", function()
  after_each(require "support.cleanup")

  local function ids_handled(program)
    local ids = {}
    for _, line in ipairs(consumer.told(program)) do
      ids[#ids + 1] = line.id
    end
    return ids
  end

  -- Messages 1 to `count` in turn over the keys, to a queue bound for all of them; the key is also a header.
  local function fill_by_key(queue, count)
    local connection = assert(rabbit.connect())
    local exchange = queue .. "-exchange"
    assert(connection:declare_exchange(exchange, "topic"))
    assert(connection:bind(queue, exchange, "#"))
    assert(connection:confirm_select())
    for id = 1, count do
      local key = "key" .. id % KEYS
      assert(connection:publish(exchange, key, ('{"id":%d}'):format(id),
        { content_type = "application/json", delivery_mode = 2, headers = { customer = key } }))
    end
    assert(connection:close())
  end

  -- The log lines of different workers come in any order, those of one key must not.
  local function assert_rising_in_each_key(program)
    local last = {}
    for _, id in ipairs(ids_handled(program)) do
      local key = id % KEYS
      assert.is_true(id > (last[key] or 0), ("%d came after %s"):format(id, last[key]))
      last[key] = id
    end
  end

  it("is that of the queue with one worker", function()
    local queue = rabbit.queue "ordering"
    consumer.fill(queue, 3000)
    local program = consumer.start(queue, consumer.TELL, { prefetch = 50, ["exit-when-idle"] = "1s" })
    assert.equal(3000, consumer.finish(program).acked)
    local wanted = {}
    for id = 1, 3000 do
      wanted[id] = id
    end
    assert.same(wanted, ids_handled(program))
  end)

  for _, ordering in ipairs { "key", "header:customer" } do
    it(("is kept for each key with three workers, ordering = '%s'"):format(ordering), function()
      local queue = rabbit.queue "ordering"
      fill_by_key(queue, 3000)
      local program = consumer.start(queue, consumer.TELL,
        { ordering = ordering, workers = 3, prefetch = 60, ["exit-when-idle"] = "1s" })
      assert.equal(3000, consumer.finish(program).acked)
      assert.equal(3000, #ids_handled(program))
      assert_rising_in_each_key(program)
    end)
  end

  -- What the dead worker had handled and not yet answered is handled again; the one it was at may come later.
  it("is kept for each key where a worker is killed", function()
    local queue = rabbit.queue "ordering"
    fill_by_key(queue, 3000)
    local program = consumer.start(queue, "return function(o, m) handled(o, m) spin(0.001) end",
      { ordering = "key", workers = 3, prefetch = 60, ["exit-when-idle"] = "1s" })
    consumer.wait_handled(program, 300)
    assert(signal.kill(program:children()[1], signal.SIGKILL))
    assert.equal(1, consumer.finish(program).worker_deaths)
    assert.same({}, (consumer.missing(program, 3000)))
    local charged = {}
    for _, line in ipairs(consumer.told(program)) do
      charged[line.id] = charged[line.id] or line.attempt > 1
    end
    local last, seen = {}, {}
    for _, id in ipairs(ids_handled(program)) do
      if not charged[id] and not seen[id] then
        assert.is_true(id > (last[id % KEYS] or 0), id .. " came too late")
        last[id % KEYS] = id
      end
      seen[id] = true
    end
  end)
end)
