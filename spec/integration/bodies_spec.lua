-- Large bodies lie on a shelf that a worker shares with the host, smaller and very large ones come through
-- its socket: whichever way, each handler sees its own message's body, byte for byte, whatever becomes of
-- messages and workers meanwhile.
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"
local signal = require "posix.signal"

local UNIT, SHELF = 16 * 1024, 1024 * 1024
local SIZES = {
  1, 250, 4096, 8191, 8192, UNIT, UNIT + 1, 65536, 65537, 2 * SHELF / 3, SHELF, SHELF + 1, 3 * SHELF + 7,
  50000, 100000, 300000,
}
local COUNT = 240

-- A body that no other message has, neither here nor some bytes further on: its period is odd.
local BODY_OF = [[
  local function body_of(id, size)
    local state, bytes = id, {}
    for i = 1, math.min(size, 4099) do
      state = (state * 16807 + 1) % 2147483647
      bytes[i] = string.char(state % 256)
    end
    return table.concat(bytes):rep(math.ceil(size / 4099)):sub(1, size)
  end
]]
local body_of = assert(loadstring(BODY_OF .. " return body_of"))()

-- Tells of each message, and whether its body was its own whenever it was looked at; `does` is what else it
-- does in between.
local function handler_that(does)
  return BODY_OF .. ([[
  return function(data, message)
    local id = tonumber(message.id)
    local expected = body_of(id, message.headers.size)
    local right = data == expected and message.body == expected
    DOES
    right = right and message.body == expected
    log.info("handled", { id = id, attempt = message.attempt, right = right })
  end
  ]]):gsub("DOES", function() return does end)
end

describe("bodies of all sizes", function()
  after_each(require "support.cleanup")

  local function fill(queue, count, sizes)
    local connection = assert(rabbit.connect())
    for id = 1, count do
      local size = sizes[(id - 1) % #sizes + 1]
      assert(connection:publish("", queue, body_of(id, size),
        { message_id = tostring(id), headers = { size = size } }))
    end
    assert(connection:close())
  end

  local function start(handler, flags, sizes, count, options)
    local queue = rabbit.queue "bodies"
    fill(queue, count or COUNT, sizes or SIZES)
    local all = { workers = 2, prefetch = 60, decode = "raw", ["retry-delay"] = "20ms",
      ["exit-when-idle"] = consumer.IDLE }
    for name, value in pairs(flags or {}) do all[name] = value end
    return consumer.start(queue, handler, all, options), queue
  end

  local function assert_all_right(program, count)
    assert.same({}, (consumer.missing(program, count or COUNT)))
    for _, line in ipairs(consumer.told(program)) do
      assert.is_true(line.right, ("message %d was not what was sent"):format(line.id))
    end
  end

  for _, concurrency in ipairs { 1, 4 } do
    local pause = concurrency > 1 and "sleep(('%dms'):format(id % 7))" or ""

    it(("are what was sent, also after a retry, concurrency %d"):format(concurrency), function()
      local program, queue = start(handler_that(pause ..
        [[ if id % 5 == 0 and message.attempt == 1 then
             log.info("once more", { right = right })
             return "retry", "20ms"
           end ]]), { concurrency = concurrency })
      local counts = consumer.finish(program)
      assert.same({ COUNT, COUNT / 5, 0 }, { counts.acked, counts.retried, counts.worker_deaths })
      for _, line in ipairs(consumer.told(program, "once more")) do assert.is_true(line.right) end
      assert_all_right(program)
      consumer.assert_left(queue, 0)
    end)

    it(("are what was sent where states are recycled, concurrency %d"):format(concurrency), function()
      local program = start(handler_that(pause), { concurrency = concurrency, ["recycle-messages"] = 7 })
      assert.equal(COUNT, consumer.finish(program).acked)
      assert_all_right(program)
    end)

    it(("survive the death of a worker, concurrency %d"):format(concurrency), function()
      local program, queue = start(handler_that(pause), { concurrency = concurrency })
      consumer.wait_handled(program, 40)
      assert(signal.kill(assert(program:children()[1]), signal.SIGKILL))
      local counts = consumer.finish(program)
      assert.same({ COUNT, 1 }, { counts.acked, counts.worker_deaths })
      assert_all_right(program)
      consumer.assert_left(queue, 0)
    end)

    it(("go to the workers that a reload brings, concurrency %d"):format(concurrency), function()
      local program = start(handler_that(pause), { concurrency = concurrency })
      consumer.wait_handled(program, 40)
      assert(program:kill "HUP")
      assert.equal(COUNT, consumer.finish(program).acked)
      assert_all_right(program)
    end)
  end

  it("are handed out anew when a state ends with others under way in it", function()
    local program = start(handler_that [[
      sleep "5ms"
      if id % 40 == 0 and message.attempt == 1 then
        log.info("spoils", { id = id })
        while true do pcall(error) end
      end ]], { concurrency = 4, ["limits-deadline"] = "200ms" }, { 50000, 250 },
      120)
    local counts = consumer.finish(program)
    assert.same({ 120, 3 }, { counts.acked, #consumer.told(program, "spoils") })
    assert_all_right(program, 120)
  end)

  it("are taken back from behind a slow message", function()
    local program = start(handler_that [[
      if id == 100 then
        local stop = os.clock() + 0.5
        while os.clock() < stop do end
      end ]], {}, { 65536 }, 200)
    assert.equal(200, consumer.finish(program).acked)
    assert_all_right(program, 200)
  end)

  -- Each keeps its place until it is answered: what finds none comes through the socket.
  it("find a way where as many wait as the shelf has no room for", function()
    local program = start(handler_that "sleep '50ms'",
      { workers = 1, concurrency = 60, ["limits-memory"] = "128MiB" }, { 100000 }, 240)
    assert.equal(240, consumer.finish(program).acked)
    assert_all_right(program, 240)
  end)

  for _, refused in ipairs { false, true } do
    local way = refused and "go through the socket where a kernel before 5.1 cannot keep workers from writing"
      or "lie in memory that workers cannot write"
    it(way, function()
      local program, queue = start(handler_that "", {}, nil, nil, { refuse_read_only_memory = refused })
      consumer.wait_consuming(program)
      local shelf = assert(process.proc(program:children()[1], "maps")):match "memfd:moonrabbit%-shelf"
      assert.equal(refused, shelf == nil)
      assert.equal(COUNT, consumer.finish(program).acked)
      assert_all_right(program)
      consumer.assert_left(queue, 0)
    end)
  end

  it("stay in order with one worker", function()
    local program = start(handler_that "", { workers = 1, prefetch = 100 },
      { 65536, 250, 300000, 3 * SHELF, 9000 }, 150)
    assert.equal(150, consumer.finish(program).acked)
    assert_all_right(program, 150)
    for at, line in ipairs(consumer.told(program)) do assert.equal(at, line.id) end
  end)
end)
