-- One moonrabbit on one queue, as the specs about deliveries run it: messages put there, a handler written in
-- the spec, and what came of them by the handler's own log lines and by the program's counts. Ids are
-- numbers; a message with the id 7 has the body {"id":7} and the message id "7".
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local consumer = {
  PATIENCE = 120, -- seconds; longer than any slow machine takes, so that only a hang reaches it
  IDLE = "2s",    -- for --exit-when-idle: longer than a busy broker pauses in the middle of a queue
}

-- What every handler here begins with: `log`, `handled` to tell of a message, `spin` to take processor time.
local PRELUDE = [[
  local log = require "log"
  local function handled(order, message)
    log.info("handled", { id = order.id, attempt = message.attempt, redelivered = message.redelivered })
  end
  local function spin(seconds)
    local stop = os.clock() + seconds
    while os.clock() < stop do end
  end
]]

---A handler that tells of each message and acks it.
consumer.TELL = "return handled"

-- Messages.

---Puts messages into a queue or another exchange; all are confirmed, and persistent, when it returns.
---@param queue string
---@param count integer
---@param options? { from?: integer, exchange?: string, key?: string, body?: string, headers?: table }
function consumer.fill(queue, count, options)
  options = options or {}
  local connection = assert(rabbit.connect())
  local properties = {
    content_type = "application/json",
    delivery_mode = 2,
    message_id = "%d",
    headers = options.headers,
  }
  assert(connection:confirm_select())
  assert(connection:publish_many(options.exchange or "", options.key or queue, count,
    options.body or '{"id":%d}', properties, { from = options.from or 1 }))
  assert(connection:close())
end

-- Programs.

local function arguments(flags)
  local list = {}
  for name, value in pairs(flags) do
    list[#list + 1] = ("--%s=%s"):format(name, tostring(value))
  end
  return list
end

---Writes a handler file; `log`, `handled` and `spin` are there for it.
---@param space table workspace
---@param text string Lua
---@param name? string of the file
---@return string path
function consumer.write_handler(space, text, name)
  return space:write(name or "handler.lua", PRELUDE .. text)
end

---@param queue string
---@param handler string Lua
---@param flags? table<string, any> options of the command line without their dashes
---@param options? table as of moonrabbit.start
---@return table program of moonrabbit.start; its `space` is the workspace of handler.lua
function consumer.start(queue, handler, flags, options)
  local space = workspace.new()
  -- Handlers here spin for so much processor time: on a busy machine that takes a multiple of it.
  local all = { queue = queue, broker = rabbit.url, ["limits-deadline"] = "2m" }
  for name, value in pairs(flags or {}) do
    all[name] = value
  end
  local words = arguments(all)
  words[#words + 1] = options
  local program = moonrabbit.start("run", consumer.write_handler(space, handler), unpack(words))
  program.space = space
  return program
end

---@param space table workspace with a file moonrabbit.lua
---@param flags? table<string, any>
---@return table program as of start
function consumer.start_configured(space, flags)
  local file = space.path .. "/moonrabbit.lua"
  local program = moonrabbit.start("run", "-c", file, unpack(arguments(flags or {})))
  program.space = space
  return program
end

---Waits until it consumes; `after` as in wait_log.
---@return integer number of the log line
function consumer.wait_consuming(program, after)
  local _, at = assert(program:wait_log({ msg = "consuming", consumer_tag = function() return true end },
    { after = after, timeout = consumer.PATIENCE }))
  return at
end

-- What came of it.

local COUNTS = {
  "delivered", "acked", "retried", "requeued", "rejected", "dead_letters", "failed", "redelivered",
  "handed_back", "stale_results", "worker_deaths",
}

---The counts that consumers told at their end, of several the sum.
---@return table<string, integer>
function consumer.counts(program)
  local counts, told = {}, false
  for _, line in ipairs(program:log_lines()) do
    for _, name in ipairs(line.msg == "consumer stopped" and COUNTS or {}) do
      counts[name] = (counts[name] or 0) + line[name]
      told = true
    end
  end
  assert(told, "the program has not told its counts")
  return counts
end

---Waits for the end of the program, which must be one in order.
---@return table<string, integer> counts
function consumer.finish(program)
  local code, reason = program:wait(consumer.PATIENCE)
  if code ~= 0 then
    error(("it ended with %s; its log ends: %s"):format(code or reason, program:stderr():sub(-2000)), 2)
  end
  return consumer.counts(program)
end

---Asks the program to stop, and waits for its end.
---@return table<string, integer> counts
function consumer.stop(program)
  assert(program:kill "TERM")
  return consumer.finish(program)
end

---The log lines with exactly this message.
---@param msg? string "handled" if not given
---@return table[] lines, in their order
function consumer.told(program, msg)
  local found = {}
  for _, line in ipairs(program:log_lines()) do
    if line.msg == (msg or "handled") then
      found[#found + 1] = line
    end
  end
  return found
end

---Waits until so many messages were handled.
---@return table[] lines
function consumer.wait_handled(program, count)
  local at, found = 0, {}
  local function enough()
    local lines = program:log_lines()
    while at < #lines do
      at = at + 1
      found[#found + 1] = lines[at].msg == "handled" and lines[at] or nil
    end
    return #found >= count
  end
  local reached, reason = program:wait_until(enough, consumer.PATIENCE)
  if not reached then
    local log = program:stderr():sub(-2000)
    error(("%s: %d of %d messages were handled; the log ends: %s"):format(reason, #found, count, log), 2)
  end
  return found
end

---Waits until the broker says that so many messages are left in the queue, none of them unacked, and that
---nobody consumes it. (Of a quorum queue it tells what was true some seconds ago.)
---@param queue string
---@param ready integer
function consumer.assert_left(queue, ready)
  local counts
  local reached = rabbit.eventually(function()
    counts = assert(rabbit.counts(queue))
    return counts.ready == ready and counts.unacked == 0 and counts.consumers == 0
  end)
  if not reached then
    error(("%d messages should be left; the broker has %d ready, %d unacked, and %d consumers"):format(ready,
      counts.ready, counts.unacked, counts.consumers), 2)
  end
end

---How often each id was handled.
---@return table<integer, integer> times, integer most: the highest of them
function consumer.times_handled(program)
  local times, most = {}, 0
  for _, line in ipairs(consumer.told(program)) do
    times[line.id] = (times[line.id] or 0) + 1
    most = math.max(most, times[line.id])
  end
  return times, most
end

---The ids from 1 to `count` that were never handled; and how many times others than the first any was.
---@return integer[] missing, integer duplicates
function consumer.missing(program, count)
  local times, missing, duplicates = consumer.times_handled(program), {}, 0
  for id = 1, count do
    if times[id] then
      duplicates = duplicates + times[id] - 1
    else
      missing[#missing + 1] = id
    end
  end
  return missing, duplicates
end

return consumer
