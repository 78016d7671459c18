-- A long and steady load of everything that handlers do: verdicts of each kind, errors, messages that are
-- published, states that are recycled by number and because a handler leaks into them. The memory of each
-- process is looked at all the time; a process that grows for ever is told in the end (support/slope.lua). A
-- worker that is replaced begins a series of its own.
--
-- With `leak` the leaking handler is not recycled: its worker must be found to grow.
local cjson = require "cjson.safe"
local consumer = require "support.consumer"
local http = require "support.http"
local linux = require "support.linux"
local process = require "support.process"
local unistd = require "posix.unistd"
local rabbit = require "support.rabbit"
local slope = require "support.slope"
local workspace = require "support.workspace"

local TICK_SECONDS = 0.1
local MIXED_EACH_TICK, LEAKY_EACH_TICK = 40, 20
local WAITING_MOST = 2000            -- in a queue: then the machine is too slow for more
local SAMPLES, INTERVAL_MOST = 300, 2 -- seconds
local LINES = 20                     -- of progress
local STUCK_SECONDS = 60
local MIB = 1024 * 1024

local MIXED = [[
  local cache = require "cache"
  return function(order, message)
    local place, first = order.id %% 20, message.attempt == 1
    cache.set("order " .. order.id %% 1000, order.id)
    if place == 1 and first then return "retry" end
    if place == 2 then return "reject", "of no use" end
    if place == 3 and first then error "once" end
    if place == 4 and first then return "requeue" end
    if order.id %% 1000 == 5 and first then return ("x"):rep(1e8) end
    message:publish("", %q, { id = order.id, note = ("x"):rep(200) })
  end
]]

local LEAKY = [[
  local kept = {}
  return function(order, message) kept[#kept + 1] = message.body:rep(200) .. order.id end
]]

local CONFIGURATION = [[
  return {
    broker = { url = %q }, cache = { memory = "512KiB", entries = 1000 },
    consumers = {
      { queue = %q, handler = "mixed.lua", workers = 2, prefetch = 50, dead_letter = %q,
        limits = { memory = "32MiB" }, recycle = { messages = 1000 },
        retry = { delay = "200ms", factor = 1, jitter = 0 } },
      { queue = %q, handler = "leaky.lua", prefetch = 50,
        limits = { memory = "1GiB" }, recycle = { memory = %q, process_memory = "1GiB" } },
      { queue = %q, handler = "sink.lua", prefetch = 50 },
    },
  }
]]

local soak = {}

local function start(leak)
  math.randomseed(unistd.getpid())
  local self = { mixed = rabbit.queue "mixed", leaky = rabbit.queue "leaky", sink = rabbit.queue "sink",
    dead = rabbit.queue "soak-dead", space = workspace.new(), published = 0, series = {}, order = {} }
  consumer.write_handler(self.space, MIXED:format(self.sink), "mixed.lua")
  consumer.write_handler(self.space, LEAKY, "leaky.lua")
  consumer.write_handler(self.space, "return function() end", "sink.lua")
  self.space:write("moonrabbit.lua", CONFIGURATION:format(rabbit.url, self.mixed, self.dead, self.leaky,
    leak and "512MiB" or "1MiB", self.sink))
  self.address = ("127.0.0.1:%d"):format(math.random(20000, 32000)) -- a log that tells it would be long, too
  self.program = consumer.start_configured(self.space, { ["status-listen"] = self.address,
    ["log-level"] = "error" })
  assert(rabbit.eventually(function() return http.get(self.address, "/healthz") end), self.program:stderr())
  self.connection = assert(rabbit.connect())
  assert(self.connection:confirm_select())
  return self
end

-- The load.

local function publish(self, queue, count)
  if rabbit.queue_info(queue).messages > WAITING_MOST then return end
  local properties = { content_type = "application/json", message_id = "%d" }
  assert(self.connection:publish_many("", queue, count, '{"id":%d}', properties,
    { from = self.published + 1 }))
  self.published = self.published + count
end

local function tick(self)
  publish(self, self.mixed, MIXED_EACH_TICK)
  publish(self, self.leaky, LEAKY_EACH_TICK)
  if self.connection:queue_info(self.dead).messages > WAITING_MOST then self.connection:purge(self.dead) end
end

-- The memory.

local function memory_of(pid)
  local text = process.proc(pid, "smaps_rollup") or ""
  local function kib(key) return tonumber(text:match("\n" .. key .. ":%s*(%d+)") or 0) * 1024 end
  return kib "Rss", kib "Private_Clean" + kib "Private_Dirty"
end

local function sample(self, name, pid, at)
  local resident, private = memory_of(pid)
  if resident == 0 then return end -- it is gone
  local key = ("%s, pid %d"):format(name, pid)
  local one = self.series[key]
  if not one then
    one = { name = key, resident = {}, private = {} }
    self.series[key] = one
    self.order[#self.order + 1] = one
  end
  one.resident[#one.resident + 1] = { at = at, bytes = resident }
  one.private[#one.private + 1] = { at = at, bytes = private }
end

local function status_of(self)
  local response = assert(http.get(self.address, "/status"))
  return assert(cjson.decode(response.body))
end

local function sample_all(self, at)
  local status = status_of(self)
  sample(self, "host", self.program.pid, at)
  for _, one in ipairs(status.consumers) do
    for _, worker in ipairs(one.workers) do
      sample(self, ("%s %d"):format(one.queue:match "^%l+", worker.worker), worker.pid, at)
    end
  end
  return status
end

-- Telling.

local function mib(bytes) return ("%.1f"):format(bytes / MIB) end

local function tell_progress(self, tell, at, status)
  local words, settled, recycled = {}, 0, 0
  for _, one in ipairs(status.consumers) do
    settled = settled + one.acked
    for _, times in pairs(one.recycles) do recycled = recycled + (type(times) == "number" and times or 0) end
  end
  for _, one in ipairs(self.order) do
    local last = one.resident[#one.resident]
    if last.at == at then words[#words + 1] = ("%s %s"):format(one.name:match "^[^,]+", mib(last.bytes)) end
  end
  tell(("%5.0f s: %d acked, %d recycled; MiB: %s"):format(at, settled, recycled, table.concat(words, ", ")))
end

local function lows_and_highs(samples)
  local least, most = math.huge, 0
  for _, one in ipairs(samples) do
    least, most = math.min(least, one.bytes), math.max(most, one.bytes)
  end
  return mib(least), mib(most)
end

-- A row for each process: name, samples, RSS at the least and most, private the same, slope of RSS an hour.
local function row_of(one)
  local fit = slope.fit(one.resident)
  local least, most = lows_and_highs(one.resident)
  local private_least, private_most = lows_and_highs(one.private)
  return { one.name, tostring(#one.resident), least, most, private_least, private_most,
    fit and ("%+.2f"):format(fit.per_second * 3600 / MIB) or "-" }
end

soak.head = { "process", "samples", "RSS least", "most", "private least", "most", "RSS slope, MiB/h" }

-- The end: all is handled, and the program stops in order.
local function finish(self)
  assert(rabbit.eventually(function()
    for _, one in ipairs(status_of(self).consumers) do
      if one.unacked > 0 or rabbit.queue_info(one.queue).messages > 0 then return false end
    end
    return true
  end, STUCK_SECONDS), "messages are stuck")
  assert(self.program:kill "TERM")
  assert(self.program:wait(consumer.PATIENCE) == 0, self.program:stderr():sub(-2000))
end

---@param options { seconds: number, leak?: boolean, tell: fun(line: string) } it takes longer where the
---  machine is too slow for enough samples
---@return { complaints: string[], rows: string[][], published: integer } rows: one for a process, as `head`
function soak.run(options)
  local self = start(options.leak)
  local began, interval = linux.now(), math.min(options.seconds / SAMPLES, INTERVAL_MOST)
  local ends, sample_at, line_at, samples = began + options.seconds, began, began, 0
  while linux.now() < ends or samples < slope.enough do
    local now = linux.now()
    tick(self)
    if now >= sample_at then
      local status = sample_all(self, now - began)
      sample_at, samples = now + interval, samples + 1
      if now >= line_at then
        tell_progress(self, options.tell, now - began, status)
        line_at = now + options.seconds / LINES
      end
    end
    linux.sleep(math.max(0, now + TICK_SECONDS - linux.now()))
  end
  finish(self)
  local result = { complaints = {}, rows = {}, published = self.published }
  for i, one in ipairs(self.order) do
    result.rows[i] = row_of(one)
    result.complaints[#result.complaints + 1] = slope.complaint(one.name, one.resident)
  end
  return result
end

return soak
