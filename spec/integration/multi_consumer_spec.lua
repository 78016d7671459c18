-- Several consumers in one program: each has its own queue, workers, prefetch and channel, all share one
-- connection, and none is in the way of another.
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local utsname = require "posix.sys.utsname"
local workspace = require "support.workspace"

local cleanup = require "support.cleanup"

local PATIENCE_SECONDS = 120

-- Tells of each message, with the name of the handler.
local function handler(name)
  return ([[
    local log = require "log"
    return function(data, message) log.info("handled", { by = %q, body = message.body }) end
  ]]):format(name)
end

-- A workspace with a configuration of consumers, given as Lua of each.
local function configure(consumers)
  local space = workspace.new()
  space:write("moonrabbit.lua", ("return { broker = { url = %q }, consumers = { { %s } } }"):format(
    rabbit.url, table.concat(consumers, " }, { ")))
  return space
end

local function start(space, ...)
  local arguments = { "run", ... }
  arguments[#arguments + 1] = { cwd = space.path }
  return moonrabbit.start(unpack(arguments))
end

local function wait_log(program, wanted, after)
  local line, at = program:wait_log(wanted, { timeout = PATIENCE_SECONDS, after = after })
  assert(line, at)
  return line, at
end

local function publish(queue, count, from)
  local connection = assert(rabbit.connect())
  assert(connection:confirm_select())
  assert(connection:publish_many("", queue, count, "%d", {}, { from = from or 1 }))
end

local function stop(program)
  assert(program:kill "TERM")
  assert.equal(0, program:wait(PATIENCE_SECONDS), program:stderr():sub(-1000))
end

-- Rows of rabbitmqctl, each a list of its columns.
local function rows_of(...)
  local rows = {}
  for line in assert(rabbit.ctl("--quiet", "--no-table-headers", ...)):gmatch "[^\n]+" do
    local row = {}
    for column in (line .. "\t"):gmatch "([^\t]*)\t" do
      row[#row + 1] = column
    end
    rows[#rows + 1] = row
  end
  return rows
end

-- Of each connection: how many channels it has, and by a channel's number, and one, the consumers of that.
local function connections_of(program)
  local connections, channels = {}, {}
  for _, row in ipairs(rows_of("list_connections", "pid", "channels", "client_properties")) do
    if row[3]:find(('"moonrabbit pid %d"'):format(program.pid), 1, true) then
      connections[#connections + 1] = { row[2] }
      channels[row[1]] = connections[#connections]
    end
  end
  for _, row in ipairs(rows_of("list_channels", "connection", "number", "consumer_count")) do
    if channels[row[1]] then
      channels[row[1]][1 + tonumber(row[2])] = row[3]
    end
  end
  table.sort(connections, function(one, other) return one[2] > other[2] end)
  return connections
end

describe("three consumers in one program", function()
  local a, b, c, space

  before_each(function()
    a, b, c = rabbit.queue "one", rabbit.queue "two", rabbit.queue "three"
    space = configure {
      ('queue = %q, handler = "a.lua", prefetch = 5'):format(a),
      ('queue = %q, handler = "b.lua", prefetch = 50, workers = 2'):format(b),
      ('queue = %q, handler = "c.lua", prefetch = 1'):format(c),
    }
    for _, name in ipairs { "a", "b", "c" } do
      space:write(name .. ".lua", handler(name))
    end
  end)

  after_each(cleanup)

  it("each have a channel of one connection, a tag, a prefetch and workers", function()
    local program = start(space)
    for _, queue in ipairs { a, b, c } do
      wait_log(program, { msg = "consuming", queue = queue, consumer_tag = function() return true end })
    end
    assert.equal(4, #program:children())
    local mine = ("%s-%d-"):format(utsname.uname().nodename, program.pid)

    local consumers = {}
    for _, row in ipairs(rows_of("list_consumers", "queue_name", "consumer_tag", "ack_required",
      "prefetch_count")) do
      consumers[row[1]] = { row[2], row[3], row[4] }
    end
    assert.same({ mine .. a, "true", "5" }, consumers[a])
    assert.same({ mine .. b, "true", "50" }, consumers[b])
    assert.same({ mine .. c, "true", "1" }, consumers[c])

    -- Beside the consumers' channels the first connection has one that asks for depths, number 17.
    local connections
    assert(rabbit.eventually(function()
      connections = connections_of(program)
      return connections[1][18]
    end))
    assert.same({ { "4", "1", "1", "1", [18] = "0" }, { "3", "0", "0", "0" } }, connections)
    stop(program)
  end)

  it("each get the messages of their own queue, and only those", function()
    publish(a, 100)
    publish(b, 300, 1000)
    publish(c, 20, 2000)
    local program = start(space, "--max-messages", "420")
    assert.equal(0, program:wait(PATIENCE_SECONDS), program:stderr():sub(-1000))
    local seen, from = { a = {}, b = {}, c = {} }, { a = 1, b = 1000, c = 2000 }
    for _, line in ipairs(scene.find_all(program:log_lines(), "handled")) do
      seen[line.by][tonumber(line.body)] = true
    end
    for name, count in pairs { a = 100, b = 300, c = 20 } do
      for id = from[name], from[name] + count - 1 do
        assert(seen[name][id], name .. " has not had " .. id)
        seen[name][id] = nil
      end
      assert.same({}, seen[name])
    end
    for queue, count in pairs { [a] = 100, [b] = 300, [c] = 20 } do
      local stopped = wait_log(program, { msg = "consumer stopped", queue = queue })
      assert.same({ count, 0 }, { stopped.acked, rabbit.queue_info(queue).messages })
    end
  end)

  it("are not held up by one whose handler never ends", function()
    space:write("a.lua", "return function() while true do end end")
    local program = start(space, "--shutdown-timeout", "100ms")
    publish(a, 1)
    wait_log(program, { msg = "consuming", queue = c })
    publish(b, 100)
    publish(c, 100)
    assert(program:wait_until(function()
      return #scene.find_all(program:log_lines(), "handled") == 200
    end, PATIENCE_SECONDS))
    stop(program)
    assert(rabbit.eventually(function() return rabbit.queue_info(a).messages == 1 end))
  end)

  it("end together when a queue of one of them is not there, and lose nothing", function()
    space = configure {
      ('queue = %q, handler = "a.lua"'):format(a),
      'queue = "moonrabbit-no-such-queue", handler = "a.lua"',
    }
    space:write("a.lua", handler "a")
    publish(a, 10)
    local program = start(space)
    assert.equal(1, program:wait(PATIENCE_SECONDS))
    local line = scene.find(program:log_lines(), "moonrabbit stopped by an error")
    assert.matches("queue moonrabbit%-no%-such%-queue: the broker says: 404", line.error)
    local handled = #scene.find_all(program:log_lines(), "handled")
    assert.equal(10, handled + rabbit.queue_info(a).messages)
  end)

  it("do not begin when the script of one of them does not load", function()
    space:write("b.lua", "return 5")
    publish(a, 10)
    local program = start(space)
    assert.equal(2, program:wait(PATIENCE_SECONDS))
    assert.matches("^b.lua returned a number",
      scene.find(program:log_lines(), "moonrabbit stopped by an error").error)
    assert.same({}, scene.find_all(program:log_lines(), "handled"))
    assert.equal(10, rabbit.queue_info(a).messages)
  end)

  it("go on without one that a reload leaves out, and with one that it brings", function()
    local d = rabbit.queue "four"
    local program = start(space)
    for _, queue in ipairs { a, b, c } do
      wait_log(program, { msg = "consuming", queue = queue, consumer_tag = function() return true end })
    end
    local changed = configure {
      ('queue = %q, handler = "a.lua", prefetch = 5'):format(a),
      ('queue = %q, handler = "d.lua"'):format(d),
    }
    space:write("moonrabbit.lua", changed:read "moonrabbit.lua")
    space:write("d.lua", handler "d")
    assert(program:kill "HUP")
    wait_log(program, { msg = "consuming", queue = d, consumer_tag = function() return true end })
    wait_log(program, { msg = "consumer stopped", queue = b })
    wait_log(program, { msg = "consumer stopped", queue = c })
    for _, queue in ipairs { a, b, c, d } do
      publish(queue, 1)
    end
    wait_log(program, { msg = "handled", by = "a" })
    wait_log(program, { msg = "handled", by = "d" })
    stop(program)
    assert.same({ 0, 1, 1, 0 }, { rabbit.queue_info(a).messages, rabbit.queue_info(b).messages,
      rabbit.queue_info(c).messages, rabbit.queue_info(d).messages })
  end)
end)

describe("two consumers on one queue", function()
  after_each(cleanup)

  it("share its messages, under names of their own", function()
    local queue = rabbit.queue "shared"
    local consumer = ('queue = %q, handler = "%%s.lua", prefetch = 10'):format(queue)
    local space = configure { consumer:format "a", consumer:format "b" }
    space:write("a.lua", handler "a")
    space:write("b.lua", handler "b")
    local program = start(space)
    local first, at = wait_log(program, { msg = "consuming", queue = queue,
      consumer_tag = function() return true end })
    local second = wait_log(program, { msg = "consuming", queue = queue,
      consumer_tag = function() return true end }, at)
    local tags = { first.consumer_tag, second.consumer_tag }
    table.sort(tags)
    assert.equal(tags[1] .. "-2", tags[2])
    publish(queue, 1000)
    local found
    assert(program:wait_until(function()
      found = scene.find_all(program:log_lines(), "handled")
      return #found >= 1000
    end, PATIENCE_SECONDS))
    stop(program)
    local times, by = {}, { a = 0, b = 0 }
    for _, line in ipairs(found) do
      by[line.by], times[line.body] = by[line.by] + 1, (times[line.body] or 0) + 1
    end
    for id = 1, 1000 do
      assert.equal(1, times[tostring(id)])
    end
    assert.is_true(by.a > 0 and by.b > 0, ("a had %d, b %d"):format(by.a, by.b))
    assert.equal(0, rabbit.queue_info(queue).messages)
  end)
end)
