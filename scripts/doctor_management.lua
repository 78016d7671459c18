-- What RabbitMQ's HTTP API tells, as facts for the doctor's rules. Whatever answers there is a stranger:
-- answers are bounded in number, size and time, each value is taken only where it is of the kind that it
-- should be, and what is absent (versions 3.8 to 4.x differ) is nil.
local cjson = require "cjson.safe"
local host = require "moonrabbit.host"

local PAGE_SIZE, OBJECTS_MAX = 500, 10000 -- of a kind
local NODES_MAX = 32
local SECONDS_MAX = 60 -- for all questions together
local NUMBER_MAX = 2 ^ 53
local TEXT_BYTES_MAX = 1024 -- names are shorter
local OK, REFUSED, FORBIDDEN = 200, 401, 403

-- Values of the kind that they should be, else nil.

local function number(value)
  return type(value) == "number" and value > -NUMBER_MAX and value < NUMBER_MAX and value or nil
end

local function text(value)
  return type(value) == "string" and value:sub(1, TEXT_BYTES_MAX) or nil
end

local function list(value)
  return type(value) == "table" and value or nil
end

local function flag(value)
  if type(value) == "boolean" then return value end
end

-- The last of the names is looked up in the tables that the others lead to.
local function at(value, ...)
  for i = 1, select("#", ...) do
    value = type(value) == "table" and value[select(i, ...)] or nil
  end
  return value
end

-- Days from 1970 to a date of the Gregorian calendar (the year begins in March, so that leap days end it).
local function days_of(year, month, day)
  local years, months = month < 3 and year - 1 or year, (month + 9) % 12
  return 365 * years + math.floor(years / 4) - math.floor(years / 100) + math.floor(years / 400) +
    math.floor((153 * months + 2) / 5) + day - 719469
end

-- "2026-11-29T22:45:44.955+00:00", or "2026-11-29 22:45:44" of older versions, as seconds until now; both are
-- in UTC.
local function seconds_since(value)
  local pattern = "^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d):(%d%d)"
  local year, month, day, hour, minute, second = (text(value) or ""):match(pattern)
  if not year then return nil end
  local days = days_of(tonumber(year), tonumber(month), tonumber(day))
  return math.max(os.time() - (((days * 24 + hour) * 60 + minute) * 60 + second), 0)
end

local function escape(name)
  return (name:gsub("[^%w._~-]", function(char) return ("%%%02X"):format(char:byte()) end))
end

-- Asking.

local Asker = {}
Asker.__index = Asker

local function explain(status, name)
  if status == REFUSED then
    return ("management %s refuses the user (401): check user and password in the URL, and that the user " ..
      "has the tag monitoring (rabbitmqctl set_user_tags NAME monitoring)"):format(name)
  elseif status == FORBIDDEN then
    return ("management %s does not allow it (403): the user needs the tag monitoring (rabbitmqctl " ..
      "set_user_tags NAME monitoring) and permissions on the virtual host"):format(name)
  elseif status >= 300 and status < 400 then
    return ("management %s answers with a redirect (%d), which is not followed: give the URL that it " ..
      "leads to"):format(name, status)
  end
  return ("management %s answers with status %d: is this RabbitMQ's management?"):format(name, status)
end

---@return table|nil answer, string|nil reason; `self.failed` is true where nothing more is worth asking
function Asker:ask(path)
  if self.failed then return nil, self.failed end
  if host.now() > self.until_time then
    self.failed = ("management %s took more than %d s: no more was asked"):format(self.world.management(),
      SECONDS_MAX)
    return nil, self.failed
  end
  local status, body, how = self.world.get("/api" .. path)
  if not status then
    if how == "failed" then self.failed = body end
    return nil, body
  end
  if status ~= OK then return nil, explain(status, self.world.management()) end
  local answer = cjson.decode(body)
  if type(answer) == "table" then return answer end
  return nil, ("management %s does not answer in JSON: is this RabbitMQ's management?")
    :format(self.world.management())
end

-- Appends what is taken of the items; false where there are more than OBJECTS_MAX.
local function take_items(items, take, into)
  for _, item in ipairs(items) do
    if #into >= OBJECTS_MAX then return false end
    local taken = type(item) == "table" and take(item)
    if taken then into[#into + 1] = taken end
  end
  return true
end

---All pages of a kind; with a reason where there are more than were taken.
---@return table[]|nil taken, string|nil reason
function Asker:ask_pages(path, columns, take)
  local taken = {}
  for page = 1, OBJECTS_MAX / PAGE_SIZE do
    local query = ("?page=%d&page_size=%d&columns=%s"):format(page, PAGE_SIZE, columns)
    local answer, reason = self:ask(path .. query)
    if not answer then return page > 1 and taken or nil, reason end
    if not take_items(list(answer.items) or answer, take, taken) then break end
    if page >= (number(answer.page_count) or 1) then return taken end
  end
  return taken, ("only the first %d were looked at"):format(OBJECTS_MAX)
end

-- What is taken of each kind.

-- A setting of a queue: from its arguments or its policy, of numbers the smaller.
local function setting(queue, name)
  local own, by_policy = at(queue.arguments, "x-" .. name), at(queue.effective_policy_definition, name)
  if number(own) and number(by_policy) then return math.min(own, by_policy) end
  if own ~= nil and own ~= cjson.null then return own end
  return by_policy
end

-- The API answers a column such as a.b with an object a that has b in it; of two such of one object only one
-- would be left.
local QUEUE_COLUMNS = "name,type,messages,messages_ready,messages_unacknowledged,message_bytes,consumers," ..
  "messages_details.rate,exclusive,arguments,effective_policy_definition"

local function take_queue(queue)
  local name = text(queue.name)
  return name and {
    name = name, type = text(queue.type), exclusive = flag(queue.exclusive),
    messages = number(queue.messages), unacked = number(queue.messages_unacknowledged),
    bytes = number(queue.message_bytes), consumers = number(queue.consumers),
    growth = number(at(queue, "messages_details", "rate")),
    max_length = number(setting(queue, "max-length")), max_bytes = number(setting(queue, "max-length-bytes")),
    ttl = number(setting(queue, "message-ttl")), max_age = text(setting(queue, "max-age")),
    dead_letter_exchange = text(setting(queue, "dead-letter-exchange")),
    dead_letter_key = text(setting(queue, "dead-letter-routing-key")),
    consumer_timeout = number(setting(queue, "consumer-timeout")),
  }
end

local CONNECTION_COLUMNS = "name,user,vhost,protocol,peer_host,channels,channel_max,timeout,type,state," ..
  "client_properties.product,user_provided_name"

local function take_connection(connection)
  local name = text(connection.name)
  return name and {
    name = name, user = text(connection.user), protocol = text(connection.protocol),
    client = text(connection.peer_host), channels = number(connection.channels),
    channel_max = number(connection.channel_max), heartbeat = number(connection.timeout),
    state = text(connection.state), product = text(at(connection, "client_properties", "product")),
    called = text(connection.user_provided_name),
  }
end

local CHANNEL_COLUMNS = "name,messages_unacknowledged,prefetch_count,global_prefetch_count,consumer_count," ..
  "connection_details.name,message_stats.ack_details.rate,idle_since"

local function take_channel(channel)
  local name = text(channel.name)
  return name and {
    name = name, connection = text(at(channel, "connection_details", "name")),
    unacked = number(channel.messages_unacknowledged), prefetch = number(channel.prefetch_count),
    global_prefetch = number(channel.global_prefetch_count), consumers = number(channel.consumer_count),
    acks = number(at(channel, "message_stats", "ack_details", "rate")),
    idle = seconds_since(channel.idle_since),
  }
end

local CONSUMER_COLUMNS = "consumer_tag,queue.name,prefetch_count,ack_required,channel_details"

local function take_consumer(consumer)
  local tag, queue = text(consumer.consumer_tag), text(at(consumer, "queue", "name"))
  return tag and queue and {
    tag = tag, queue = queue, prefetch = number(consumer.prefetch_count), acks = flag(consumer.ack_required),
    channel = text(at(consumer, "channel_details", "name")),
    connection = text(at(consumer, "channel_details", "connection_name")),
  }
end

local NODE_COLUMNS = "name,running,mem_used,mem_limit,mem_alarm,disk_free,disk_free_limit,disk_free_alarm," ..
  "fd_used,fd_total,sockets_used,sockets_total,proc_used,proc_total"

local NODE_NUMBERS = { "mem_used", "mem_limit", "disk_free", "disk_free_limit", "fd_used", "fd_total",
  "sockets_used", "sockets_total", "proc_used", "proc_total" }

local function take_node(node)
  local taken = { name = text(node.name), running = flag(node.running), memory = {},
    mem_alarm = flag(node.mem_alarm), disk_free_alarm = flag(node.disk_free_alarm) }
  for _, name in ipairs(NODE_NUMBERS) do taken[name] = number(node[name]) end
  return taken.name and taken
end

-- Names of memory by category, as the API has them, in the groups that the rules know.
local CATEGORIES = {
  binaries = { "binary" },
  mnesia = { "mnesia" },
  queues = { "queue_procs", "queue_slave_procs", "quorum_queue_procs", "quorum_queue_dlx_procs",
    "quorum_ets", "stream_queue_procs", "stream_queue_replica_reader_procs" },
  connections = { "connection_readers", "connection_writers", "connection_channels", "connection_other" },
  unused = { "allocated_unused" },
}

local function take_memory(memory)
  local groups = {}
  for group, names in pairs(CATEGORIES) do
    for _, name in ipairs(names) do
      local bytes = number(at(memory, name))
      if bytes then groups[group] = (groups[group] or 0) + bytes end
    end
  end
  return groups
end

-- The whole.

-- Objects without the figure that the broker's statistics have of each: those come seconds after the object,
-- and never where they are turned off.
local function tell_of_blanks(tell, what, objects, figure)
  local blank = 0
  for _, object in ipairs(objects) do blank = blank + (object[figure] and 0 or 1) end
  if blank == 0 then return end
  tell.unseen(("%s of %d out of %d"):format(what, blank, #objects),
    "the broker has no statistics of them: they are younger than its last look, or management_agent." ..
    "disable_metrics_collector is on")
end

local function gather_nodes(asker, tell)
  local answer, reason = asker:ask("/nodes?columns=" .. NODE_COLUMNS)
  if not answer then
    tell.unseen("memory, disk, descriptors, sockets and Erlang processes of the broker", reason)
    return nil
  end
  local nodes = {}
  take_items(answer, take_node, nodes)
  for i, node in ipairs(nodes) do
    local memory, why
    if i <= NODES_MAX then
      memory, why = asker:ask(("/nodes/%s/memory"):format(escape(node.name)))
    else
      why = ("only the first %d nodes are asked"):format(NODES_MAX)
    end
    if memory then node.memory = take_memory(memory.memory)
    else tell.unseen("memory by category of node " .. node.name, why) end
  end
  tell_of_blanks(tell, "memory in use: nodes", nodes, "mem_used")
  return nodes
end

local function gather_list(asker, tell, what, path, columns, take)
  local objects, reason = asker:ask_pages(path, columns, take)
  if reason then tell.unseen(what, reason) end
  return objects
end

local function has_dead_letters(queues)
  for _, queue in ipairs(queues) do
    if queue.dead_letter_exchange and queue.dead_letter_exchange ~= "" then return true end
  end
  return false
end

-- A set of names.
local function gather_exchanges(asker, tell, vhost)
  local names = gather_list(asker, tell, "exchanges for dead letters", "/exchanges/" .. vhost, "name",
    function(exchange) return text(exchange.name) end)
  local set = {}
  for _, name in ipairs(names or {}) do set[name] = true end
  return names and #names < OBJECTS_MAX and set or nil
end

-- Nil where this is no management API: then the reason has been told as a failure.
local function gather_overview(asker, tell)
  local overview, reason = asker:ask("/overview")
  if overview and not text(overview.rabbitmq_version) then
    reason = "management " .. asker.world.management() .. " is not RabbitMQ's: its overview names no version"
    overview = nil
  end
  if not overview then
    tell.failure("the broker's management", reason)
    return nil
  end
  return {
    version = text(overview.rabbitmq_version),
    connections_created = number(at(overview, "churn_rates", "connection_created_details", "rate")),
    channels_created = number(at(overview, "churn_rates", "channel_created_details", "rate")),
  }
end

---@param world table functions in C
---@param vhost string whose queues are looked at; connections and channels are the whole broker's
---@param tell { unseen: function, failure: function } both are called with what, and why
---@return table|nil facts
return function(world, vhost, tell)
  local asker = setmetatable({ world = world, until_time = host.now() + SECONDS_MAX }, Asker)
  local facts = gather_overview(asker, tell)
  if not facts then return nil end
  vhost = escape(vhost)
  facts.nodes = gather_nodes(asker, tell)
  local function gather(what, path, columns, take)
    return gather_list(asker, tell, what, path, columns, take)
  end
  facts.queues = gather("queues", "/queues/" .. vhost, QUEUE_COLUMNS, take_queue)
  facts.connections = gather("connections", "/connections", CONNECTION_COLUMNS, take_connection)
  facts.channels = gather("channels", "/channels", CHANNEL_COLUMNS, take_channel)
  facts.consumers = gather("consumers", "/consumers/" .. vhost, CONSUMER_COLUMNS, take_consumer)
  tell_of_blanks(tell, "messages and consumers: queues", facts.queues or {}, "messages")
  if facts.queues and has_dead_letters(facts.queues) then
    facts.exchanges = gather_exchanges(asker, tell, vhost)
  end
  if asker.failed then tell.failure("the broker's management", asker.failed) end
  return facts
end
