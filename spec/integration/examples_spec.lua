-- The examples run against a broker as their configurations say: only the names of their queues are the
-- spec's own. The rest of what they do is in their own specs. (orders is what `make demo` runs, dedupe is in
-- cache_spec.)
local dirent = require "posix.dirent"
local cleanup = require "support.cleanup"
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local root = require "support.root"
local workspace = require "support.workspace"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

-- A copy of the example's folder in which each of these queues has a name of its own, and these names.
local function copy(example, ...)
  local space, names = workspace.new(), {}
  for _, queue in ipairs { ... } do names[queue] = rabbit.name(queue) end
  local folder = ("%s/examples/%s/"):format(root, example)
  for name in dirent.files(folder) do
    if name:find("%.lua$") then
      space:write(name, (read(folder .. name):gsub('"([%w.-]+)"', function(text)
        return names[text] and ("%q"):format(names[text])
      end)))
    end
  end
  return space, names
end

-- Starts the copy, which ends by itself after so many messages. Its queues are there when this returns.
local function start(space, messages)
  local program = consumer.start_configured(space, { broker = rabbit.url, ["max-messages"] = messages })
  local _, queues = read(space.path .. "/moonrabbit.lua"):gsub("queue = ", "")
  local at
  for _ = 1, queues do at = consumer.wait_consuming(program, at) end
  return program
end

local function publisher()
  local connection = assert(rabbit.connect())
  assert(connection:confirm_select())
  return function(queue, body, properties)
    assert(connection:publish("", queue, body, properties))
  end, connection
end

describe("the example", function()
  after_each(cleanup)

  it("invoices mails one invoice for each sale, and keeps what is none", function()
    local space, names = copy("invoices", "sales", "invoices", "sales.dead")
    local program = start(space, 3 * 20 + 1)
    local sale = '{"id":"s-%d","customer":"Ann","items":[{"quantity":2,"price":5}]}'
    consumer.fill(names.sales, 20, { body = sale })
    consumer.fill(names.sales, 20, { body = sale })
    consumer.fill(names.sales, 1, { body = '{"id":"s-%d"}' })
    local counts = consumer.finish(program)
    assert.same({ 60, 1, 0 }, { counts.acked, counts.rejected + counts.dead_letters, counts.failed })
    local mailed = {}
    for _, line in ipairs(consumer.told(program, "invoice mailed")) do mailed[line.id] = line.total end
    for i = 1, 20 do assert.equal(10, mailed["invoice-s-" .. i]) end
    assert.equal(20, #consumer.told(program, "invoice mailed"))
    assert.equal(1, assert(rabbit.queue_info(names["sales.dead"])).messages)
  end)

  it("rpc answers", function()
    local space, names = copy("rpc", "temperature")
    local answers = rabbit.queue "answers"
    local program = start(space, 1)
    local publish, connection = publisher()
    publish(names.temperature, '{"from":"C","to":"F","degrees":20}',
      { reply_to = answers, correlation_id = "q-1" })
    assert.equal(1, consumer.finish(program).acked)
    local reply = assert(connection:drain(answers))[1]
    assert.same({ '{"degrees":68}', "q-1" }, { reply.body, reply.properties.correlation_id })
  end)

  it("images measures them", function()
    local space, names = copy("images", "images", "image-sizes")
    local program = start(space, 2)
    publisher()(names.images, "\137PNG\r\n\26\n\0\0\0\13IHDR\0\0\1\0\0\0\0\240", { message_id = "a.png" })
    assert.equal(2, consumer.finish(program).acked)
    local line = consumer.told(program, "image")[1]
    assert.same({ "a.png", 256, 240 }, { line.image, line.width, line.height })
  end)

  it("aggregator tells a minute once, whichever worker counts it", function()
    local space, names = copy("aggregator", "views")
    local program = start(space, 401)
    local publish = publisher()
    local noon = 1767268800 -- 2026-01-01 12:00:00 UTC
    for _ = 1, 400 do publish(names.views, "{}", { timestamp = noon }) end
    publish(names.views, "{}", { timestamp = noon + 60 })
    assert.equal(401, consumer.finish(program).acked)
    assert.equal(2, #consumer.told(program, "minute"))
  end)

  it("leaky has its state recycled for memory", function()
    local space, names = copy("leaky", "leaky")
    local program = start(space, 100)
    consumer.fill(names.leaky, 100, { body = '{"id":%d,"filling":"' .. ("x"):rep(64 * 1024) .. '"}' })
    local counts = consumer.finish(program)
    assert.same({ 100, 0, 0 }, { counts.acked, counts.failed, counts.worker_deaths })
    assert.equal("memory", consumer.told(program, "Lua state recycled")[1].reason)
    assert(consumer.told(program, "consumer stopped")[1].recycled >= 2)
    local leak = consumer.told(program, "this grows with every message")[1].leak
    assert(leak:find("upvalue 'kept' of handler.lua:13, array, ", 1, true), leak)
  end)

  it("traps settles what leaks elsewhere, in queues that are bounded", function()
    local queues = { "trap-connections", "trap-unsettled", "trap-hoard", "trap-waiting", "trap-backlog",
      "trap-registry" }
    local space, names = copy("traps", unpack(queues))
    local program = start(space, #queues)
    local bounds = assert(rabbit.ctl("list_queues", "--quiet", "--no-table-headers", "name", "arguments"))
    for _, queue in ipairs(queues) do
      local arguments = bounds:match(names[queue]:gsub("%p", "%%%0") .. "[^\n]*")
      assert.matches('"x%-max%-length"[^}]*100000', arguments)
      assert.matches("reject%-publish", arguments)
      publisher()(names[queue], '{"id":1,"total":1}', { content_type = "application/json" })
    end
    local counts = consumer.finish(program)
    assert.same({ 4, 2 }, { counts.acked, counts.failed })
  end)
end)
