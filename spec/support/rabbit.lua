-- The private broker as specs see it: connections, queues of their own, what is in them, and the broker's own
-- ups and downs. scripts/dev/test starts the broker and names it in MR_BROKER_URL and its like;
-- scripts/dev/broker does the rest. What is made here ends with the spec: cleanup is for after_each.
local amqp = require "amqp"
local signal = require "posix.signal"
local linux = require "support.linux"
local process = require "support.process"
local root = require "support.root"

local BROKER_SECONDS = 180
local EVENTUALLY_SECONDS = 30
local POLL_SECONDS = 0.05

local rabbit = {
  url = os.getenv("MR_BROKER_URL"),
  port = tonumber(os.getenv("MR_BROKER_PORT")),
  tls = {
    url = os.getenv("MR_BROKER_TLS_URL"),
    port = tonumber(os.getenv("MR_BROKER_TLS_PORT")),
    ca = os.getenv("MR_BROKER_CA"),
    cert = os.getenv("MR_BROKER_CERT"),
    key = os.getenv("MR_BROKER_KEY"),
  },
}

local connections = {} -- made by connect, to be closed
local queues = {}      -- names to delete
local own              -- the connection that queues are declared and looked at with
local away = false     -- a spec stopped the broker
local frozen           -- pid of the broker, while a spec has frozen it

-- Connections.

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function login_of(url)
  if not url then
    error("MR_BROKER_URL names no broker. Run the specs by 'make test', or start one: "
      .. 'eval "$(scripts/dev/broker start)"', 0)
  end
  local user, password, host, port, vhost = url:match("^amqp://([^:]+):([^@]+)@([^:]+):(%d+)/(.*)$")
  assert(user, "MR_BROKER_URL is not amqp://user:password@host:port/vhost")
  return {
    host = host,
    port = tonumber(port),
    user = unescape(user),
    password = unescape(password),
    vhost = unescape(vhost),
  }
end

local function open(options)
  local login = login_of(rabbit.url)
  for key, value in pairs(options or {}) do
    login[key] = value
  end
  return amqp.connect(login)
end

---A connection of the spec's own, closed after it.
---@param options? table as amqp.connect takes them, over those of MR_BROKER_URL
---@return table|nil connection, string|nil reason
function rabbit.connect(options)
  local connection, reason = open(options)
  if connection then
    connections[#connections + 1] = connection
  end
  return connection, reason
end

-- Calls a method of our own connection: on a new one, when the broker was away in the meantime.
local function ask(method, ...)
  if own then
    local answer, reason = own[method](own, ...)
    if own:is_open() then
      return answer, reason
    end
  end
  own = assert(open())
  return own[method](own, ...)
end

-- Queues.

local function random_name(prefix)
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(6)
  source:close()
  return prefix .. "-" .. bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
end

---A name that no other queue has; if there is such a queue after the spec, it is deleted.
---@param prefix string
---@return string name
function rabbit.name(prefix)
  local name = random_name(prefix)
  queues[#queues + 1] = name
  return name
end

---A new queue, durable if not told otherwise, deleted after the spec.
---@param prefix string
---@param options? table as connection:declare takes them
---@return string name
function rabbit.queue(prefix, options)
  local name = rabbit.name(prefix)
  local declared = { durable = true }
  for key, value in pairs(options or {}) do
    declared[key] = value
  end
  assert(ask("declare", name, declared))
  return name
end

---What a passive declare tells: quick, but it knows nothing of unacked messages.
---@param queue string
---@return { messages: integer, consumers: integer }|nil, string|nil reason
function rabbit.queue_info(queue)
  return ask("queue_info", queue)
end

---@param queue string
---@return { ready: integer, unacked: integer, consumers: integer }|nil, string|nil reason
function rabbit.counts(queue)
  local rows = assert(rabbit.ctl("list_queues", "--quiet", "--no-table-headers", "name", "messages_ready",
    "messages_unacknowledged", "consumers"))
  for name, ready, unacked, consumers in rows:gmatch("([^\n\t]+)\t(%d+)\t(%d+)\t(%d+)") do
    if name == queue then
      return { ready = tonumber(ready), unacked = tonumber(unacked), consumers = tonumber(consumers) }
    end
  end
  return nil, "not found"
end

---Asks again and again until the answer is true: for what only polling can see.
---@param condition function returns a value, or false and perhaps why
---@param timeout? number seconds
---@return any value, or nil and a reason
function rabbit.eventually(condition, timeout)
  timeout = timeout or EVENTUALLY_SECONDS
  local deadline = linux.now() + timeout
  while true do
    local value, why = condition()
    if value then
      return value
    elseif linux.now() >= deadline then
      return nil, ("not within %g seconds%s"):format(timeout, why and ": " .. tostring(why) or "")
    end
    linux.sleep(POLL_SECONDS)
  end
end

-- The broker itself.

local function broker(...)
  local result = process.run({ root .. "/scripts/dev/broker", ... }, { timeout = BROKER_SECONDS })
  if result.code == 0 then
    return result.out
  end
  return nil, ("scripts/dev/broker %s: %s%s"):format(table.concat({ ... }, " "), result.err, result.out)
end

---rabbitmqctl on the private broker.
---@vararg string
---@return string|nil output, string|nil reason
function rabbit.ctl(...)
  return broker("ctl", ...)
end

---The broker's HTTP API, which it has from then on until it is started anew.
---@return string url with user and password
function rabbit.management()
  return (assert(assert(broker("management")):match("MR_BROKER_MANAGEMENT='([^']+)'")))
end

local function forget_connection()
  if own then
    own:close()
  end
  own = nil
end

---Stops the broker in order, and starts it again; returns when it takes connections.
function rabbit.restart_broker()
  forget_connection()
  assert(broker("restart"))
  away = false
end

---Stops the broker in order; its durable queues and persistent messages stay.
function rabbit.stop_broker()
  forget_connection()
  away = true
  assert(broker("stop"))
end

---Ends the broker as a power cut would.
function rabbit.kill_broker()
  forget_connection()
  away = true
  assert(broker("kill"))
end

---Has the broker write down which queues there are. By itself it does so within 2 s for all (Mnesia's log),
-- and within three minutes for quorum queues
-- (https://github.com/rabbitmq/rabbitmq-server/issues/15725): one that is younger at a power cut is gone.
function rabbit.write_to_disk()
  assert(rabbit.ctl("eval", "ok = mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()]."))
end

---Starts the broker if it does not run; returns when it takes connections.
function rabbit.start_broker()
  assert(broker("start"))
  away = false
end

---Stops the broker's processor time: it is there still, and says nothing any more. Until thaw_broker.
function rabbit.freeze_broker()
  local file = assert(io.open(os.getenv("MR_BROKER_DIR") .. "/data/pid"))
  frozen = assert(tonumber(file:read("*a")))
  file:close()
  assert(signal.kill(frozen, signal.SIGSTOP))
end

function rabbit.thaw_broker()
  if frozen then
    assert(signal.kill(frozen, signal.SIGCONT))
  end
  frozen = nil
end

local USUAL_MEMORY, NO_MEMORY = "0.4", "0.00001" -- shares of the machine's that the broker may have
local alarmed

local function allow_memory(share)
  assert(rabbit.ctl("set_vm_memory_high_watermark", share))
  alarmed = share ~= USUAL_MEMORY
end

---Makes the broker short of memory: it blocks publishers until end_memory_alarm.
function rabbit.raise_memory_alarm()
  allow_memory(NO_MEMORY)
end

function rabbit.end_memory_alarm()
  allow_memory(USUAL_MEMORY)
end

local FIRST_STEP_MS, STEP_PERCENT = 100, 15 -- as runtime/host/retry.h has them
local LONGEST_STEP_MS = 60000               -- no spec waits longer

-- The delay queues that a program may have made for this queue.
local function delete_delay_queues(queue)
  local step = FIRST_STEP_MS
  while step <= LONGEST_STEP_MS do
    assert(ask("delete", ("%s.retry.%d"):format(queue, step)))
    step = step + math.floor(step * STEP_PERCENT / 100)
  end
end

---Starts the broker if the spec left it stopped, frozen or short of memory, closes the spec's connections and
-- deletes its queues. For after_each.
function rabbit.cleanup()
  rabbit.thaw_broker()
  if away then
    rabbit.start_broker()
  end
  if alarmed then
    rabbit.end_memory_alarm()
  end
  for _, connection in ipairs(connections) do
    connection:close()
  end
  connections = {}
  local names = queues
  queues = {}
  for _, name in ipairs(names) do
    assert(ask("delete", name))
    delete_delay_queues(name)
  end
end

return rabbit
