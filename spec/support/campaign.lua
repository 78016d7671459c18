-- A campaign of faults: messages flow from queues through the handlers of a program into another queue, and
-- in each round one thing goes wrong, or two at once (support/fault_kinds.lua). After each round all must
-- have arrived. Who judges that is the checker (support/checker.lua), by a journal of what was published and
-- of what the queues behind the program have. These are read again from the beginning where a connection was
-- lost, and never acked: a killed broker forgets acks, which is no fault of the program.
--
-- What a round may handle twice is bounded by what could be in flight: the prefetch of all consumers, once
-- for each connection that the faults cost, or where heartbeats are short and the machine is slow, that was
-- lost; and over a killed broker, also by the acks that it may have forgotten.
--
-- A seed gives the same faults in the same order, at the same number of messages; not the same microsecond.
local cjson = require "cjson.safe"
local checker = require "support.checker"
local consumer = require "support.consumer"
local http = require "support.http"
local linux = require "support.linux"
local proxy = require "support.proxy"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local BATCH = 240 -- messages for each round
local LARGE, LARGE_BYTES = 3, 40000 -- and as many more that take several sends
local WORK_SECONDS = 0.004 -- for each message
local MOMENT_SHARE = 0.6 -- of them have arrived, at most, when things go wrong
local SLICE = 10 -- of them one after the other in one stream
local SIDE_BATCH = 10 -- to a queue that was deleted and is there again
local TWO_AT_ONCE = 0.2 -- share of the rounds
local STUCK_SECONDS = 60 -- after a fault nothing takes longer
local CALM_SECONDS = 0.25 -- in which nothing moves: /status is a tenth of a second old
local DELAY_MS = 227 -- one of the steps of runtime/host/retry.h
local PREFETCH, SINGLE_PREFETCH, SIDE_PREFETCH = 50, 20, 10

-- Passes on what it gets. Of each 100 some fail once, one is rejected, and a strange one is first published
-- to where nobody is, over which the broker closes the channel.
local HANDLER = [[
  return function(order, message)
    local place = order.id %% 100
    sleep(%g)
    if place == 99 then return "reject" end
    if place < 5 and message.attempt == 1 then error "once" end
    if order.strange and message.attempt == 1 then message:publish("no-such-exchange", "", "") end
    message:publish("", %q, message.body,
      { message_id = message.id, headers = { attempt = message.attempt } })
  end
]]

local CONFIGURATION = [[
  local function consumer(queue, prefetch, more)
    more.queue, more.prefetch, more.handler, more.dead_letter = queue, prefetch, "handler.lua", %q
    more.retry = { attempts = 1000, delay = %q, factor = 1, jitter = 0 }
    more.limits = { deadline = "2s", grace = "200ms" }
    return more
  end
  return { broker = { url = %q, heartbeat = %q }, consumers = { %s } }
]]

local LISTENING = { ["status-listen"] = "127.0.0.1:0" }

local campaign = {}

local Campaign = {}
Campaign.__index = Campaign

-- The program.

local function configuration(self)
  local consumers = {
    ("consumer(%q, %d, { workers = 3, concurrency = %d, ordering = %q })"):format(self.queue, PREFETCH,
      self.concurrency, self.single and "header:stream" or "none"),
    ("consumer(%q, %d, { declare = { durable = true } })"):format(self.side, SIDE_PREFETCH),
    self.single and ("consumer(%q, %d, {})"):format(self.single, SINGLE_PREFETCH) or nil,
  }
  local url = self.proxy and rabbit.url:gsub(":" .. rabbit.port, ":" .. self.proxy.port) or rabbit.url
  return CONFIGURATION:format(self.dead, DELAY_MS .. "ms", url, self.proxy and "2s" or "60s",
    table.concat(consumers, ", "))
end

function Campaign:start()
  self.program, self.log_checked = consumer.start_configured(self.space, LISTENING), 0
  consumer.wait_consuming(self.program)
  local listening = { msg = "status listens" }
  self.address = assert(self.program:wait_log(listening, { timeout = consumer.PATIENCE })).address
end

local INJECTED_TAG = "9223372036854775807" -- of support/fault_kinds.lua

-- How many connections were lost, by the program's log since the last look. A tag that the broker does not
-- know belongs to another channel, where it names another message.
local function check_log(self)
  local log = self.program:stderr()
  local news = log:sub(self.log_checked + 1)
  for tag in news:gmatch "unknown delivery tag (%d+)" do
    if tag ~= INJECTED_TAG then
      self.complaints[#self.complaints + 1] = ("delivery tag %s was settled on another channel"):format(tag)
    end
  end
  for _ in news:gmatch '"connection lost; ' do self.lost = self.lost + 1 end
  self.log_checked = #log
end

function Campaign:stop()
  assert(self.program:kill "TERM")
  assert(self.program:wait(consumer.PATIENCE) == 0, self.program:stderr():sub(-2000))
  check_log(self)
end

function Campaign:kill()
  assert(self.program:kill "KILL")
  self.program:wait(consumer.PATIENCE)
  check_log(self)
end

-- Deliveries that it has not settled; nil where it does not say.
function Campaign:in_flight()
  local response = http.get(self.address, "/status")
  local status, count = response and cjson.decode(response.body), 0
  for _, one in ipairs(status and status.consumers or {}) do count = count + one.unacked end
  return status and count
end

-- The journal.

function Campaign:note(...)
  local line = table.concat({ ... }, " ")
  assert(self.journal:write(line, "\n"))
  self.checker:take(line)
end

local function publish(self, queue, count, stream, body)
  consumer.fill(queue, count, { from = self.count + 1, body = body, headers = { stream = stream } })
  for id = self.count + 1, self.count + count do
    local rejected = id % 100 == 99
    self:note("published", id, rejected and "dead" or "out", rejected and "-" or stream)
  end
  self.count = self.count + count
end

---Publishes a batch, over all streams in turn.
function Campaign:fill()
  local streams = self.single and { "a", "b", "c", "d", "e", "f", "single" } or { "-" }
  local slice = self.single and SLICE or BATCH
  for i = 0, BATCH / slice - 1 do
    local stream = streams[i % #streams + 1]
    publish(self, stream == "single" and self.single or self.queue, slice, stream)
  end
  publish(self, self.queue, LARGE, "-", ('{"id":%%d,"note":"%s"}'):format(("x"):rep(LARGE_BYTES)))
end

function Campaign:fill_side() publish(self, self.side, SIDE_BATCH, "-") end

function Campaign:fill_strange()
  if self.count % 100 == 98 then self:fill_side() end -- one that is rejected is not published
  publish(self, self.queue, 1, "-", '{"id":%d,"strange":true}')
end

-- In place comes what was not tried before: the death of a worker charges the message that it was at.
local function turn_of(message)
  local attempt = (message.properties.headers or {}).attempt
  return (attempt or 1) == 1 and "in-place" or "put-back"
end

-- Takes note of what has come since, or of all where the connection is a new one. (A drain that fails has let
-- go of what the connection held.)
local function read(self)
  if not self.reader then
    self.reader = rabbit.connect()
    if not self.reader then return end
    self:note "again"
  end
  for place, queue in pairs { out = self.out, dead = self.dead } do
    local messages = not rabbit.queue_info(queue) and {} or self.reader:drain(queue, { ack = false })
    for _, message in ipairs(messages or {}) do
      self:note("handled", message.properties.message_id, place, turn_of(message))
    end
    if not messages then
      self.reader:close()
      self.reader = nil
      return
    end
  end
end

-- Waits until no more than so many have not arrived.
local function wait_arrived(self, missing)
  return rabbit.eventually(function()
    read(self)
    return self.checker:missing() <= missing
  end, STUCK_SECONDS)
end

-- What is left in the queues after the program has ended.
local function note_left(self)
  for _, queue in ipairs { self.queue, self.side, self.single } do
    for _, message in ipairs(assert(assert(rabbit.connect()):drain(queue))) do
      self:note("left", message.properties.message_id)
    end
  end
end

-- Rounds.

function Campaign:wait_for_side()
  assert(rabbit.eventually(function()
    local info = rabbit.queue_info(self.side)
    return info and info.consumers == 1
  end, STUCK_SECONDS), "the side queue is not consumed any more")
end

local function is_calm(self)
  for _, queue in ipairs { self.queue, self.side, self.single } do
    for _, name in ipairs { queue, ("%s.retry.%d"):format(queue, DELAY_MS) } do
      local info = rabbit.queue_info(name)
      if not info or info.messages > 0 then return false end
    end
  end
  return self:in_flight() == 0
end

-- Everything has arrived, and nothing is under way that could arrive a second time.
local function settle(self)
  local calm_since
  local arrived = wait_arrived(self, 0)
  return arrived and rabbit.eventually(function()
    calm_since = is_calm(self) and (calm_since or linux.now()) or nil
    if not calm_since or linux.now() < calm_since + CALM_SECONDS then return false end
    read(self)
    return self.checker:missing() == 0
  end, STUCK_SECONDS)
end

local function prefetch_of(self)
  return PREFETCH + SIDE_PREFETCH + (self.single and SINGLE_PREFETCH or 0)
end

local function tell_round(self, names, flying, twice, allowed, seconds)
  self.told(("%s: in flight %s, handled twice %d of at most %d, %.1f s"):format(
    table.concat(names, ", then "), table.concat(flying, " and "), twice, allowed, seconds))
end

---One thing after the other goes wrong under a load; then all of it must arrive.
---@param self table
---@param faults table[] kinds
local function round(self, faults)
  local began, before, published = linux.now(), self.checker:twice(), self.count
  local names, flying, loses, forgotten = {}, {}, 0, 0
  self:fill()
  wait_arrived(self, math.random(BATCH - BATCH * MOMENT_SHARE, BATCH))
  for i, kind in ipairs(faults) do
    if i > 1 then linux.sleep(math.random() / 4) end
    names[i], flying[i] = kind.name, tostring(self:in_flight() or "?")
    kind.act(self)
    loses, forgotten = loses + kind.loses, kind.forgets and self.count - published or forgotten
    self.counts[kind.name] = (self.counts[kind.name] or 0) + 1
  end
  local settled = settle(self)
  check_log(self)
  local lost = self.lost
  self.lost = 0
  local allowed = math.max(loses, self.proxy and lost or 0) * prefetch_of(self) + forgotten
  local twice = self.checker:twice() - before
  tell_round(self, names, flying, twice, allowed, linux.now() - began)
  if twice > allowed then
    self.complaints[#self.complaints + 1] = ("%s: %d were handled twice, and at most %d could be"):format(
      table.concat(names, ", then "), twice, allowed)
  end
  return settled
end

-- The whole.

local function open(options)
  local self = setmetatable({ count = 0, lost = 0, counts = {}, complaints = {}, checker = checker.new(),
    space = workspace.new(), told = options.tell, concurrency = options.concurrency or 1 }, Campaign)
  local declared = { arguments = { ["x-queue-type"] = options.quorum and "quorum" or nil,
    ["x-single-active-consumer"] = options.ordered or nil } }
  self.queue, self.out = rabbit.queue("faults", declared), rabbit.queue "out"
  self.dead, self.side = rabbit.name "faults-dead", rabbit.name "side"
  self.single = options.ordered and rabbit.queue("single", declared) or nil
  self.proxy = options.network and proxy.start(rabbit.port)
  self.journal_path = self.space.path .. "/journal"
  self.journal = assert(io.open(self.journal_path, "w"))
  consumer.write_handler(self.space, HANDLER:format(WORK_SECONDS * self.concurrency, self.out))
  self.space:write("moonrabbit.lua", configuration(self))
  return self
end

-- The names of retry queues are written down before the broker is first killed (support/rabbit.lua).
local function settle_in(self)
  self:start()
  self:wait_for_side()
  for _, queue in ipairs { self.queue, self.side, self.single } do publish(self, queue, 100, "-") end
  assert(settle(self), "not even without a fault")
  rabbit.write_to_disk()
end

-- Kinds in random order, each as often as its share says, and again from the beginning.
local function deck_of(kinds)
  local deck = {}
  return function()
    if #deck == 0 then
      for _, kind in ipairs(kinds) do
        for _ = 1, kind.share do deck[#deck + 1] = kind end
      end
    end
    return table.remove(deck, math.random(#deck))
  end
end

---Runs one to its end; it stops early where something is stuck.
---@param options { kinds: table[], count?: integer, seed: integer, ordered?: boolean, quorum?: boolean,
---  network?: boolean, concurrency?: integer, tell: function } count: of faults; or each kind once, in turn
---@return table result of the checker, and `counts` by kind, `complaints`, `journal`: its path, `log`
function campaign.run(options)
  math.randomseed(options.seed)
  local self, draw, injected, settled = open(options), deck_of(options.kinds), 0, true
  local count = options.count or #options.kinds
  settle_in(self)
  while settled and injected < count do
    local faults = { options.count and draw() or options.kinds[injected + 1] }
    if options.count and count - injected > 1 and math.random() < TWO_AT_ONCE then faults[2] = draw() end
    injected = injected + #faults
    settled = round(self, faults)
  end
  self:stop()
  read(self)
  note_left(self)
  self.journal:close()
  local result = checker.read(self.journal_path)
  result.counts, result.complaints = self.counts, self.complaints
  result.journal, result.log = self.journal_path, self.program:stderr()
  return result
end

return campaign
