-- What the doctor knows: a rule for each way in which memory, connections or messages pile up. A rule is pure:
-- facts in (scripts/doctor_facts.lua), findings out. What a rule cannot see, because a fact is nil, it does not
-- judge; that it was not looked at is told elsewhere.
--
-- A rule: name; layer; severities, all that it may give; why it leaks; what to `do`; and check(facts, found),
-- which calls found { object, what, severity? (its only one), line? (a command or a line of the configuration),
-- fix? (instead of `do`), figures? } for each finding. runtime/doc/doctor.md has a row for every rule.
local host = require "moonrabbit.host"
local words = require "moonrabbit.words"

local commas, counted, size, duration = words.with_commas, words.counted, host.format_size, host.format_duration

local NEAR, FULL = 0.8, 0.95 -- shares of a bound
local MIB = 1024 * 1024

local CONSUMER_TIMEOUT_SECONDS = 30 * 60 -- RabbitMQ's, where a queue has none of its own
local RECYCLE_SHARE_MAX = 0.9            -- of limits.memory: what is left is for the message at hand
local CONNECTIONS_MANY = 30              -- of one client; moonrabbit has two for each program
local CHANNELS_MANY = 100                -- on one connection
local CONNECTIONS_A_SECOND, CHANNELS_A_SECOND = 5, 20
local PREFETCH_MANY = 1000
local UNACKED_MANY = 10000               -- in one queue
local PREFETCH_NEAR = 0.9
local DEAD_LETTERS_MANY = 1000
local MUCH_MORE = 10                     -- times as many are critical
local CATEGORY_SHARE, CATEGORY_BYTES = 0.4, 64 * MIB -- of the broker's memory limit; and at least
local FREE_MEMORY_SHARE = 0.1            -- of the machine's
local SOCKETS_PER_WORKER, SOCKETS_BESIDES = 4, 8 -- as the memory monitor of `run` counts

local rules = {}

local function rule(name, layer, severities)
  return function(body)
    body.name, body.layer, body.severities = name, layer, severities
    rules[#rules + 1] = body
  end
end

-- What several rules ask.

local function each(list)
  return ipairs(list or {})
end

local function percent(part, whole)
  return math.floor(100 * part / whole + 0.5)
end

-- "warning" near a bound, "critical" at the end of it, nil else.
local function nearness(used, bound)
  if not used or not bound or bound <= 0 or used < NEAR * bound then return nil end
  return used >= FULL * bound and "critical" or "warning"
end

local function consumers_of(facts, queue)
  local list = {}
  for _, consumer in ipairs(facts.config.consumers) do
    if consumer.queue == queue then list[#list + 1] = consumer end
  end
  return list
end

-- Names of queues that dead letters go to: as the configuration says, and as other queues do by the default
-- exchange. Queues where messages wait for their time send them back the same way: their source is none.
local function dead_letter_queues(facts)
  local names = {}
  for _, consumer in ipairs(facts.config.consumers) do
    if consumer.dead_letter then names[consumer.dead_letter] = true end
  end
  for _, queue in ipairs(facts.queues) do
    if queue.dead_letter_exchange == "" and queue.dead_letter_key and not queue.ttl then
      names[queue.dead_letter_key] = true
    end
  end
  for _, consumer in ipairs(facts.config.consumers) do names[consumer.queue] = nil end
  return names
end

local function is_stream(queue)
  return queue.type == "stream"
end

local function is_bounded(queue)
  return queue.max_length or queue.max_bytes or queue.ttl or queue.max_age
end

-- Messages leave it by themselves: by their time, to somewhere else or for good.
local function empties_itself(queue)
  return queue.ttl ~= nil
end

local function describe_connection(connection)
  local name = connection.name
  if connection.called then name = ("%s (%s)"):format(connection.called, name) end
  return "connection " .. name
end

local function round_up(bytes)
  return ("%dMiB"):format(math.ceil(bytes / (64 * MIB)) * 64)
end

local function rate(number)
  return number < 10 and ("%.1f a second"):format(number) or commas(number) .. " a second"
end

-- Application.

rule("handler-fails", "application", { "critical" }) {
  why = "A consumer that does not start leaves its queue to grow.",
  ["do"] = "Correct what is named, and see that this says ok:",
  check = function(facts, found)
    if facts.handlers.error then
      found { object = "the handlers", what = facts.handlers.error, line = "moonrabbit check" }
    end
  end,
}

local function workers_may_hold(config)
  local bytes, workers = 0, 0
  for _, consumer in ipairs(config.consumers) do
    bytes = bytes + consumer.workers * consumer.recycle_memory
    workers = workers + consumer.workers
  end
  return bytes, workers
end

rule("memory-thresholds", "application", { "info", "warning" }) {
  why = "A worker may fill its Lua state up to recycle.memory before it gets a new one. Where all of them together "
    .. "come over memory.critical by that alone, the monitor ends workers that do nothing wrong, and says "
    .. "nothing of those that do.",
  ["do"] = "Set the thresholds above what the workers may hold, or run fewer workers:",
  check = function(facts, found)
    local config = facts.config
    local bytes, workers = workers_may_hold(config)
    local over = bytes > config.memory_critical and "critical" or bytes > config.memory_warning and "warning"
    if not over then return end
    local limit = config["memory_" .. over]
    found { object = "memory." .. over, severity = over == "critical" and "warning" or "info",
      what = ("%s may hold %s in all (recycle.memory), and memory.%s is %s"):format(counted(workers, "worker"),
        size(bytes), over, size(limit)),
      line = ('memory = { warning = "%s", critical = "%s" }'):format(round_up(bytes), round_up(2 * bytes)),
      figures = { bytes = bytes, limit = limit, workers = workers } }
  end,
}

rule("recycle-near-limit", "application", { "warning" }) {
  why = "A state lives on until it holds recycle.memory. What limits.memory leaves above that is all that a "
    .. "message then has, and it fails for memory though the handler leaks nothing.",
  ["do"] = "Recycle earlier, at three quarters of the limit:",
  check = function(facts, found)
    for _, consumer in ipairs(facts.config.consumers) do
      if consumer.recycle_memory > RECYCLE_SHARE_MAX * consumer.memory then
        found { object = "consumer " .. consumer.name,
          what = ("recycle.memory is %s of a limits.memory of %s"):format(size(consumer.recycle_memory),
            size(consumer.memory)),
          line = ('recycle = { memory = "%dMiB" }'):format(math.floor(0.75 * consumer.memory / MIB)),
          figures = { recycle = consumer.recycle_memory, limit = consumer.memory } }
      end
    end
  end,
}

rule("ledger-size", "application", { "info" }) {
  why = "The host holds up to prefetch messages of up to limits.message each: so much the broker may push into "
    .. "this program when large messages come.",
  ["do"] = "Where messages are small, say so; else lower prefetch:",
  check = function(facts, found)
    for _, consumer in ipairs(facts.config.consumers) do
      local bytes = consumer.prefetch * consumer.message
      if bytes > facts.config.memory_critical then
        found { object = "consumer " .. consumer.name,
          what = ("prefetch %d times limits.message %s is %s, and memory.critical is %s"):format(
            consumer.prefetch, size(consumer.message), size(bytes), size(facts.config.memory_critical)),
          line = 'limits = { message = "1MiB" }', figures = { bytes = bytes } }
      end
    end
  end,
}

-- Connection.

rule("heartbeat-off", "connection", { "warning" }) {
  why = "Without heartbeats nobody notices that the other end has vanished without a word: the broker keeps the "
    .. "connection, its channels and all unacked messages for hours.",
  ["do"] = "Leave broker.heartbeat at its default, or set it:",
  check = function(facts, found)
    if facts.config.heartbeat == 0 then
      found { object = "broker.heartbeat", what = "this program's heartbeat is off",
        line = 'broker = { heartbeat = "60s" }' }
    end
  end,
}

local function speaks_amqp(connection)
  return not connection.protocol or connection.protocol:find("^AMQP") ~= nil
end

rule("no-heartbeat", "connection", { "warning" }) {
  why = "A client that vanishes without a word (a cable, a killed machine, a firewall that forgets) is never "
    .. "noticed: the connection, its channels and all unacked messages stay in the broker for hours.",
  ["do"] = "Have that client ask for a heartbeat; 60 s suit most. Until then, close the connection by its name:",
  check = function(facts, found)
    for _, connection in each(facts.management and facts.management.connections) do
      if connection.heartbeat == 0 and speaks_amqp(connection) then
        found { object = describe_connection(connection),
          what = ("user %s has no heartbeat on it"):format(connection.user or "?"),
          line = ("rabbitmqctl list_connections pid name timeout  # then rabbitmqctl close_connection PID"),
          figures = { channels = connection.channels } }
      end
    end
  end,
}

-- A client is a user of one program on one machine.
local function clients_of(connections)
  local clients, list = {}, {}
  for _, connection in each(connections) do
    local key = table.concat({ connection.user or "?", connection.client or "?", connection.product or "" }, "\0")
    local client = clients[key]
    if not client then
      client = { user = connection.user or "?", host = connection.client or "?", product = connection.product,
        connections = 0, idle = 0 }
      clients[key], list[#list + 1] = client, client
    end
    client.connections = client.connections + 1
    if connection.channels == 0 then client.idle = client.idle + 1 end
  end
  return list
end

rule("many-connections", "connection", { "warning", "critical" }) {
  why = "Each connection costs the broker about 100 KiB, a descriptor and some processes. A client that opens "
    .. "one for each message or request, and closes few, takes all of them in the end.",
  ["do"] = "Have it open one connection for each process at its start and keep it. What is open:",
  check = function(facts, found)
    for _, client in ipairs(clients_of(facts.management and facts.management.connections)) do
      if client.connections >= CONNECTIONS_MANY then
        found { object = ("client %s at %s%s"):format(client.user, client.host,
            client.product and " (" .. client.product .. ")" or ""),
          severity = client.connections >= MUCH_MORE * CONNECTIONS_MANY and "critical" or "warning",
          what = ("%s open, %d of them without a channel"):format(counted(client.connections, "connection"),
            client.idle),
          line = "rabbitmqctl list_connections user peer_host peer_port channels connected_at",
          figures = { connections = client.connections, idle = client.idle } }
      end
    end
  end,
}

rule("many-channels", "connection", { "warning", "critical" }) {
  why = "Each channel is a process of the broker with a buffer of its own. A client that opens one for each "
    .. "message and does not close it meets channel_max, and then every further one fails.",
  ["do"] = "Have it use a channel for each thread or consumer and keep it. What is open:",
  check = function(facts, found)
    for _, connection in each(facts.management and facts.management.connections) do
      local channels, most = connection.channels or 0, connection.channel_max or 0
      if channels >= CHANNELS_MANY then
        local bound = most > 0 and (" of %s that it may have"):format(commas(most)) or ""
        found { object = describe_connection(connection),
          severity = most > 0 and channels >= NEAR * most and "critical" or "warning",
          what = counted(channels, "channel") .. bound,
          line = "rabbitmqctl list_channels connection number consumer_count messages_unacknowledged",
          figures = { channels = channels, channel_max = most } }
      end
    end
  end,
}

rule("churn", "connection", { "warning" }) {
  why = "A connection or channel for each message costs the broker more than the message, leaves sockets in "
    .. "TIME_WAIT, and leaks wherever an error skips the close.",
  ["do"] = "Keep connections and channels open for the life of a process. Who does it shows in:",
  check = function(facts, found)
    local management = facts.management or {}
    local function judge(what, number, most)
      if number and number >= most then
        found { object = "the broker", what = ("%s %ss are opened"):format(rate(number), what),
          line = "rabbitmqctl list_connections user peer_host connected_at  # several times", figures = { rate = number } }
      end
    end
    judge("connection", management.connections_created, CONNECTIONS_A_SECOND)
    judge("channel", management.channels_created, CHANNELS_A_SECOND)
  end,
}

-- Consumer.

local function describe_consumer(consumer)
  return ("consumer %s of queue %s"):format(consumer.tag, consumer.queue)
end

local function channels_by_name(facts)
  local by_name = {}
  for _, channel in each(facts.management and facts.management.channels) do by_name[channel.name] = channel end
  return by_name
end

rule("no-prefetch", "consumer", { "critical" }) {
  why = "Without a limit the broker pushes the whole queue into the consumer at once: a backlog of a million "
    .. "messages is then in the consumer's memory, all of it unacked.",
  ["do"] = "Set one before it consumes (basic.qos, prefetch_count); moonrabbit always does:",
  check = function(facts, found)
    local channels = channels_by_name(facts)
    for _, consumer in each(facts.management and facts.management.consumers) do
      local channel = channels[consumer.channel] or {}
      if consumer.prefetch == 0 and consumer.acks ~= false and (channel.global_prefetch or 0) == 0 then
        found { object = describe_consumer(consumer),
          what = ("its prefetch is 0, which is no limit (%s)"):format(consumer.connection or "?"),
          line = "channel.basic_qos(prefetch_count=10)", figures = { unacked = channel.unacked } }
      end
    end
  end,
}

rule("auto-ack", "consumer", { "warning" }) {
  why = "What the broker has sent counts as done: no prefetch holds it back, it piles up in the consumer's memory, "
    .. "and is lost when that ends.",
  ["do"] = "Consume with acks and a prefetch:",
  check = function(facts, found)
    for _, consumer in each(facts.management and facts.management.consumers) do
      if consumer.acks == false then
        found { object = describe_consumer(consumer),
          what = ("it takes messages without acking them (%s)"):format(consumer.connection or "?"),
          line = "channel.basic_consume(queue, auto_ack=False)" }
      end
    end
  end,
}

rule("prefetch-high", "consumer", { "warning" }) {
  why = "So many messages are held in the consumer's memory, and go back to the queue all at once when it dies. "
    .. "Beyond some hundreds no more get done in the same time.",
  ["do"] = "Lower it; 10 to 300 suit most handlers:",
  check = function(facts, found)
    local own = {}
    for _, consumer in ipairs(facts.config.consumers) do
      own[consumer.queue .. "\0" .. consumer.prefetch] = true
      if consumer.prefetch > PREFETCH_MANY then
        found { object = "consumer " .. consumer.name, what = "its prefetch is " .. commas(consumer.prefetch),
          line = "prefetch = 100", figures = { prefetch = consumer.prefetch } }
      end
    end
    for _, consumer in each(facts.management and facts.management.consumers) do
      local prefetch = consumer.prefetch or 0
      if prefetch > PREFETCH_MANY and not own[consumer.queue .. "\0" .. prefetch] then
        found { object = describe_consumer(consumer), what = "its prefetch is " .. commas(prefetch),
          line = "channel.basic_qos(prefetch_count=100)", figures = { prefetch = prefetch } }
      end
    end
  end,
}

rule("unacked-high", "consumer", { "warning", "critical" }) {
  why = "Unacked messages are in the memory of broker and consumer both, and cannot be dropped or paged out. So "
    .. "many mean that consumers forget to ack, or hold more than they can handle.",
  ["do"] = "Find the channel that holds them, and lower its prefetch or mend its acks:",
  check = function(facts, found)
    for _, queue in ipairs(facts.queues) do
      local unacked = queue.unacked or 0
      if unacked > UNACKED_MANY then
        found { object = "queue " .. queue.name,
          severity = unacked > MUCH_MORE * UNACKED_MANY and "critical" or "warning",
          what = counted(unacked, "message is unacked", "messages are unacked"),
          line = "rabbitmqctl list_channels connection number prefetch_count messages_unacknowledged",
          figures = { unacked = unacked } }
      end
    end
  end,
}

-- How many messages the channel may hold: nil without a limit.
local function room_of(channel)
  local each_consumer = (channel.prefetch or 0) * math.max(channel.consumers or 0, 1)
  local shared = channel.global_prefetch or 0
  if each_consumer == 0 and shared == 0 then return nil end
  if each_consumer == 0 or shared == 0 then return math.max(each_consumer, shared) end
  return math.min(each_consumer, shared)
end

rule("unacked-near-prefetch", "consumer", { "info", "warning" }) {
  why = "All that the broker may hand out ahead waits on the consumer. While acks come that is work; where none "
    .. "come the consumer is stuck or forgets to ack, and nothing moves any more.",
  ["do"] = "See whether it works: its log, its processor time. A consumer that hangs has to be ended:",
  check = function(facts, found)
    for _, channel in each(facts.management and facts.management.channels) do
      local room, unacked = room_of(channel), channel.unacked or 0
      if room and (channel.consumers or 0) > 0 and unacked >= PREFETCH_NEAR * room then
        local acks = channel.acks or 0
        found { object = "channel " .. channel.name, severity = acks > 0 and "info" or "warning",
          what = ("%s unacked of %s that it may hold, and %s"):format(commas(unacked), commas(room),
            acks > 0 and rate(acks) .. " are acked" or "none is acked"),
          line = "rabbitmqctl list_channels connection number prefetch_count messages_unacknowledged",
          figures = { unacked = unacked, room = room, acks = acks } }
      end
    end
  end,
}

local function queue_named(facts, name)
  for _, queue in ipairs(facts.queues) do
    if queue.name == name then return queue end
  end
end

-- What the queue says itself; else nil.
local function own_timeout(facts, name)
  local queue = queue_named(facts, name)
  return queue and queue.consumer_timeout and queue.consumer_timeout / 1000
end

rule("consumer-timeout", "consumer", { "critical" }) {
  why = "The broker closes the channel of a consumer that keeps a message longer than consumer_timeout. All its "
    .. "messages are delivered again, the slow one first, and again: nothing gets done, and the queue grows.",
  ["do"] = "Make limits.deadline shorter than the queue's consumer_timeout, or raise that:",
  check = function(facts, found)
    for _, consumer in ipairs(facts.config.consumers) do
      local timeout = own_timeout(facts, consumer.queue) or CONSUMER_TIMEOUT_SECONDS
      local longest = consumer.deadline + consumer.grace
      if longest >= timeout then
        found { object = "consumer " .. consumer.name,
          what = ("a message may take %s (limits.deadline and limits.grace), and queue %s waits %s"):format(
            duration(longest), consumer.queue, duration(timeout)),
          line = ('limits = { deadline = "%ds" }'):format(math.max(math.floor(timeout / 2), 1)),
          figures = { longest = longest, timeout = timeout } }
      end
    end
  end,
}

rule("prefetch-outlasts-timeout", "consumer", { "info" }) {
  why = "The broker counts consumer_timeout from when it hands a message out: the last of a full prefetch waits "
    .. "for all before it. If each took as long as it may, the broker would close the channel.",
  ["do"] = "Where messages do take long, lower prefetch or run more workers:",
  check = function(facts, found)
    for _, consumer in ipairs(facts.config.consumers) do
      local timeout = own_timeout(facts, consumer.queue) or CONSUMER_TIMEOUT_SECONDS
      local turns = math.ceil(consumer.prefetch / consumer.workers)
      local longest = turns * (consumer.deadline + consumer.grace)
      if longest >= timeout and consumer.deadline + consumer.grace < timeout then
        found { object = "consumer " .. consumer.name,
          what = ("prefetch %d on %s at %s each is %s, and queue %s waits %s"):format(consumer.prefetch,
            counted(consumer.workers, "worker"), duration(consumer.deadline + consumer.grace),
            duration(longest), consumer.queue, duration(timeout)),
          line = "prefetch = " .. math.max(1, math.floor(consumer.workers * timeout /
            (consumer.deadline + consumer.grace)) - consumer.workers),
          figures = { longest = longest, timeout = timeout } }
      end
    end
  end,
}

-- Queue.

rule("queue-missing", "queue", { "critical" }) {
  why = "A consumer of it cannot start, and what is published for it is dropped or refused.",
  ["do"] = "Declare it, by the consumer itself:",
  check = function(facts, found)
    for name, there in pairs(facts.amqp and facts.amqp.queues or {}) do
      local consumer = consumers_of(facts, name)[1]
      if there == false and consumer and not consumer.declared then
        found { object = "queue " .. name, what = ("there is no such queue, and consumer %s takes messages from it")
          :format(consumer.name), line = "declare = { durable = true, max_length = 100000 }" }
      end
    end
  end,
}

-- The line that bounds a queue that is there: its arguments cannot be changed.
local function bounding_policy(queue)
  return ([[rabbitmqctl set_policy %s '^%s$' '{"max-length":100000,"overflow":"reject-publish"}' --apply-to queues]])
    :format("bound-" .. queue:gsub("[^%w._-]", "-"), (queue:gsub("[%^%$%(%)%[%]%.%*%+%?{}|\\]", "\\%0"):gsub("'", ".")))
end

rule("no-bound", "queue", { "warning" }) {
  why = "Where its consumers are slow or away it grows until the broker's memory or disk is full, which stops "
    .. "every publisher of the broker.",
  ["do"] = "Give it a length; the declaration of a queue that is there cannot be changed, a policy can:",
  check = function(facts, found)
    local dead = dead_letter_queues(facts)
    local there = {}
    for _, queue in ipairs(facts.queues) do
      there[queue.name] = queue
      if queue.detailed and not is_bounded(queue) and not dead[queue.name] then
        found { object = "queue " .. queue.name,
          what = ("it has no %s"):format(is_stream(queue) and "max-length-bytes and no max-age"
            or "max-length, no max-length-bytes and no message-ttl"),
          line = bounding_policy(queue.name), figures = { messages = queue.messages } }
      end
    end
    for _, consumer in ipairs(facts.config.consumers) do
      local known = there[consumer.queue] and there[consumer.queue].detailed
      if consumer.declared and not known and not is_bounded(consumer) then
        found { object = "queue " .. consumer.queue, what = "it is declared without any bound",
          line = "declare = { max_length = 100000 }" }
      end
    end
  end,
}

-- A queue's bounds, also where only the configuration tells them.
local function bounds_of(facts, queue)
  local declared = not queue.detailed and consumers_of(facts, queue.name)[1]
  if declared and declared.declared then return declared.max_length, declared.max_bytes end
  return queue.max_length, queue.max_bytes
end

rule("near-bound", "queue", { "warning", "critical" }) {
  why = "A full queue refuses what is published, or drops its oldest messages; either way the consumers have "
    .. "fallen behind by all that it holds.",
  ["do"] = "Find out why they are slow; more workers or a higher prefetch take more at once:",
  check = function(facts, found)
    local dead = dead_letter_queues(facts)
    for _, queue in ipairs(facts.queues) do
      local length, bytes = bounds_of(facts, queue)
      local by_length, by_bytes = nearness(queue.messages, length), nearness(queue.bytes, bytes)
      local severity = by_length == "critical" and by_length or by_bytes or by_length
      if severity and not dead[queue.name] and not is_stream(queue) then
        found { object = "queue " .. queue.name, severity = severity,
          what = by_length and ("%s of at most %s"):format(counted(queue.messages, "message"), commas(length))
            or ("%s of messages, of at most %s"):format(size(queue.bytes), size(bytes)),
          line = "workers = 4, prefetch = 50", figures = { messages = queue.messages, max_length = length } }
      end
    end
  end,
}

local function grows(queue)
  return (queue.growth or 0) > 0
end

rule("no-consumers", "queue", { "warning", "critical" }) {
  why = "Nobody takes its messages: they stay, and every further one with them.",
  ["do"] = "Start its consumer; or, where nobody needs it any more, delete it and its bindings:",
  check = function(facts, found)
    local dead = dead_letter_queues(facts)
    for _, queue in ipairs(facts.queues) do
      local waits = queue.consumers == 0 and (queue.messages or 0) > 0
      if waits and not dead[queue.name] and not empties_itself(queue) and not is_stream(queue) then
        local consumer = consumers_of(facts, queue.name)[1]
        found { object = "queue " .. queue.name, severity = grows(queue) and "critical" or "warning",
          what = ("%s, no consumer%s"):format(counted(queue.messages, "message"),
            grows(queue) and ", and it grows by " .. rate(queue.growth) or ""),
          line = consumer and "moonrabbit run" .. (facts.config.file and " -c " .. facts.config.file or "")
            or ("rabbitmqctl delete_queue %s --if-unused"):format(queue.name),
          figures = { messages = queue.messages, growth = queue.growth } }
      end
    end
  end,
}

rule("dead-letters", "queue", { "info", "warning", "critical" }) {
  why = "Dead letters stay until somebody looks. Where they pile up, messages fail that nobody handles; where the "
    .. "queue is full, the next ones are refused or dropped.",
  ["do"] = "See why they failed, mend that, and send them back (dead retry) or drop them (dead drop):",
  check = function(facts, found)
    local dead = dead_letter_queues(facts)
    for _, queue in ipairs(facts.queues) do
      local messages = queue.messages or 0
      if dead[queue.name] and messages > 0 and queue.consumers == 0 then
        local full = nearness(messages, queue.max_length) or nearness(queue.bytes, queue.max_bytes)
        local many = messages >= DEAD_LETTERS_MANY or grows(queue)
        found { object = "queue " .. queue.name, severity = full and "critical" or many and "warning" or "info",
          what = ("%s%s%s"):format(counted(messages, "dead letter"),
            grows(queue) and ", more by " .. rate(queue.growth) or "",
            full and queue.max_length and (", of at most %s"):format(commas(queue.max_length)) or ""),
          line = "moonrabbit dead list " .. queue.name,
          figures = { messages = messages, growth = queue.growth, max_length = queue.max_length } }
      end
    end
  end,
}

rule("dead-letters-no-bound", "queue", { "warning" }) {
  why = "Nobody consumes dead letters: without a bound they grow until the broker's memory or disk is full.",
  ["do"] = "Give it a length; moonrabbit declares its dead-letter queues with one:",
  check = function(facts, found)
    local dead = dead_letter_queues(facts)
    for _, queue in ipairs(facts.queues) do
      if queue.detailed and dead[queue.name] and not is_bounded(queue) then
        found { object = "queue " .. queue.name,
          what = "dead letters go to it, and it has no max-length, no max-length-bytes and no message-ttl",
          line = bounding_policy(queue.name), figures = { messages = queue.messages } }
      end
    end
  end,
}

-- The queue that the default exchange, or nil and the words for an exchange, leads to.
local function missing_target(facts, queue, there)
  local exchange, key = queue.dead_letter_exchange, queue.dead_letter_key
  if exchange == "" then
    key = key or queue.name
    return not there[key] and "queue " .. key or nil
  end
  local exchanges = facts.management.exchanges
  return exchange and exchanges and not exchanges[exchange] and "exchange " .. exchange or nil
end

rule("dead-letter-target", "queue", { "critical" }) {
  why = "The broker drops what it dead-letters when the target is not there, without a word to anybody.",
  ["do"] = "Make the target, or name one that there is. For a queue:",
  check = function(facts, found)
    local there = {}
    for _, queue in ipairs(facts.queues) do there[queue.name] = true end
    if not (facts.management and facts.management.queues) then return end
    for _, queue in ipairs(facts.queues) do
      local missing = missing_target(facts, queue, there)
      if missing then
        found { object = "queue " .. queue.name, what = ("its dead letters go to %s, which is not there"):format(missing),
          line = 'dead_letter = "' .. queue.name .. '.dead"' }
      end
    end
  end,
}

rule("no-dead-letter", "queue", { "info" }) {
  why = "A message that is rejected, or that has failed retry.attempts times, is dropped by the broker for good.",
  ["do"] = "Keep them where they can be looked at and sent back:",
  check = function(facts, found)
    for _, consumer in ipairs(facts.config.consumers) do
      local queue = queue_named(facts, consumer.queue) or {}
      if not consumer.dead_letter and not consumer.dead_letter_exchange and not queue.dead_letter_exchange then
        found { object = "consumer " .. consumer.name, what = "no dead_letter is set" ..
            (queue.detailed and ", and the queue has no dead-letter exchange" or ""),
          line = ('dead_letter = "%s.dead"'):format(consumer.queue) }
      end
    end
  end,
}

-- Server.

local function nodes_of(facts)
  return each(facts.management and facts.management.nodes)
end

rule("node-down", "server", { "critical" }) {
  why = "What it held is away, its queues fail over or stop, and the others carry its load.",
  ["do"] = "See its log, and start it:",
  check = function(facts, found)
    for _, node in nodes_of(facts) do
      if node.running == false then
        found { object = "node " .. node.name, what = "it does not run", line = "rabbitmqctl cluster_status" }
      end
    end
  end,
}

rule("memory-alarm", "server", { "warning", "critical" }) {
  why = "At its memory limit the broker reads nothing more from publishers: they block, in many clients for ever, "
    .. "and what they cannot publish piles up in them.",
  ["do"] = "Take messages out (consumers), take connections away, or give it more memory:",
  check = function(facts, found)
    for _, node in nodes_of(facts) do
      local near = nearness(node.mem_used, node.mem_limit)
      if node.mem_alarm or near then
        local of = node.mem_used and node.mem_limit and (": %s of %s"):format(size(node.mem_used), size(node.mem_limit))
        found { object = "node " .. node.name, severity = node.mem_alarm and "critical" or "warning",
          what = (node.mem_alarm and "the memory alarm is on, publishers are blocked" or
            "the memory alarm is near") .. (of or ""),
          line = "rabbitmq-diagnostics memory_breakdown  # vm_memory_high_watermark.relative in rabbitmq.conf",
          figures = { used = node.mem_used, limit = node.mem_limit } }
      end
    end
  end,
}

rule("disk-alarm", "server", { "warning", "critical" }) {
  why = "Below its limit of free disk the broker blocks all publishers, as at its memory limit; a disk that is "
    .. "full ends it.",
  ["do"] = "Free some, or move its data to a larger one:",
  check = function(facts, found)
    for _, node in nodes_of(facts) do
      local free, limit = node.disk_free, node.disk_free_limit
      if node.disk_free_alarm or (free and limit and free < 2 * limit) then
        found { object = "node " .. node.name, severity = node.disk_free_alarm and "critical" or "warning",
          what = (node.disk_free_alarm and "the disk alarm is on, publishers are blocked" or "the disk alarm is near") ..
            (free and limit and (": %s are free, the limit is %s"):format(size(free), size(limit)) or ""),
          line = "rabbitmq-diagnostics status  # disk_free_limit.absolute in rabbitmq.conf",
          figures = { free = free, limit = limit } }
      end
    end
  end,
}

-- A category of the broker's memory that takes a large part of its limit.
local function memory_rule(category, what, body)
  body.check = function(facts, found)
    for _, node in nodes_of(facts) do
      local bytes, limit = node.memory[category], node.mem_limit
      if bytes and limit and limit > 0 and bytes >= CATEGORY_BYTES and bytes >= CATEGORY_SHARE * limit then
        found { object = "node " .. node.name,
          what = ("%s: %s, %d %% of its memory limit"):format(what, size(bytes), percent(bytes, limit)),
          line = body.line, figures = { bytes = bytes, limit = limit } }
      end
    end
  end
  return body
end

rule("memory-binaries", "server", { "warning" }) (memory_rule("binaries", "binaries", {
  why = "Binaries are bodies of messages: those in queues and, above all, those that were handed out and are "
    .. "unacked.",
  ["do"] = "Lower prefetch, ack sooner, keep large bodies out of messages. Whose they are:",
  line = "rabbitmqctl list_channels connection messages_unacknowledged  # then: rabbitmqctl list_queues name message_bytes_ram",
}))

rule("memory-mnesia", "server", { "warning" }) (memory_rule("mnesia", "Mnesia's tables", {
  why = "Mnesia holds queues, exchanges, bindings and users, on every node. It grows with queues and bindings that "
    .. "are made and never deleted: one for each client, request or day.",
  ["do"] = "Count them, delete what nobody uses, and give such queues an x-expires:",
  line = "rabbitmqctl list_queues name consumers messages  # then: rabbitmqctl list_bindings | wc -l",
}))

rule("memory-queues", "server", { "warning" }) (memory_rule("queues", "processes of queues", {
  why = "Queues keep messages, their index and those that are unacked in their processes: long queues, or very "
    .. "many of them.",
  ["do"] = "Bound the long ones, and get them consumed. Which they are:",
  line = "rabbitmqctl list_queues name memory messages messages_unacknowledged",
}))

rule("memory-connections", "server", { "warning" }) (memory_rule("connections", "connections and channels", {
  why = "Each connection and channel has processes and buffers. Very many, or some that read slowly, hold what is "
    .. "to be sent to them.",
  ["do"] = "Find clients that open too many, and those that do not read:",
  line = "rabbitmqctl list_connections name channels send_pend recv_oct send_oct",
}))

rule("memory-unused", "server", { "warning" }) (memory_rule("unused", "allocated and unused", {
  why = "Erlang's allocators keep what a burst needed, in pieces that they cannot give back: the next burst comes on "
    .. "top of it.",
  ["do"] = "Bound what comes at once (prefetch, max-length). What is left goes with a restart of the node:",
  line = "rabbitmq-diagnostics memory_breakdown",
}))

local function bound_rule(used, total, what, body)
  body.check = function(facts, found)
    for _, node in nodes_of(facts) do
      local severity = nearness(node[used], node[total])
      if severity then
        found { object = "node " .. node.name, severity = severity,
          what = ("%s %s of %s"):format(commas(node[used]), what, commas(node[total])), line = body.line,
          figures = { used = node[used], total = node[total] } }
      end
    end
  end
  return body
end

rule("broker-descriptors", "server", { "warning", "critical" }) (bound_rule("fd_used", "fd_total", "descriptors", {
  why = "Connections, queues and files take descriptors. Where they run out the broker takes no connections and "
    .. "cannot write.",
  ["do"] = "Find clients that leak connections, and raise the limit:",
  line = "systemctl edit rabbitmq-server  # [Service] LimitNOFILE=65536",
}))

rule("broker-sockets", "server", { "warning", "critical" }) (bound_rule("sockets_used", "sockets_total", "sockets", {
  why = "Each connection is a socket. Where they run out the broker takes no more clients.",
  ["do"] = "Find clients that leak connections:",
  line = "rabbitmqctl list_connections user peer_host state connected_at",
}))

rule("broker-processes", "server", { "warning", "critical" }) (bound_rule("proc_used", "proc_total",
  "Erlang processes", {
  why = "Connections, channels and queues are Erlang processes. Where they run out the broker dies.",
  ["do"] = "Find who opens so many channels or queues:",
  line = "rabbitmqctl list_channels connection number user",
}))

-- System.

-- Each host process with its workers, and what they hold together.
local function programs_of(processes)
  local programs, by_pid = {}, {}
  for _, process in ipairs(processes) do
    if process.role == "host" then
      local program = { host = process, workers = 0, bytes = process.bytes or 0 }
      programs[#programs + 1], by_pid[process.pid] = program, program
    end
  end
  for _, process in ipairs(processes) do
    local program = process.role == "worker" and by_pid[process.parent]
    if program then
      program.workers, program.bytes = program.workers + 1, program.bytes + (process.bytes or 0)
    end
  end
  return programs
end

rule("program-memory", "system", { "warning", "critical" }) {
  why = "At memory.warning the program says so in its log; at memory.critical it recycles its largest worker. A "
    .. "program that stays there has a handler that leaks, or thresholds that are too low.",
  ["do"] = "Its log names what is recycled and why. What it holds:",
  check = function(facts, found)
    for _, program in ipairs(programs_of(facts.system.processes)) do
      local critical = program.bytes >= facts.config.memory_critical
      if critical or program.bytes >= facts.config.memory_warning then
        local limit = critical and "critical" or "warning"
        found { object = "moonrabbit process " .. program.host.pid, severity = limit,
          what = ("it and %s hold %s, and memory.%s of this configuration is %s"):format(
            counted(program.workers, "worker"), size(program.bytes), limit, size(facts.config["memory_" .. limit])),
          line = ("ps -o pid,rss,etime,args --pid %d --ppid %d"):format(program.host.pid, program.host.pid),
          figures = { bytes = program.bytes, workers = program.workers } }
      end
    end
  end,
}

rule("program-descriptors", "system", { "warning", "critical" }) {
  why = "A process without descriptors can open no connection and start no worker.",
  ["do"] = "Raise the limit of whatever starts it; under systemd:",
  check = function(facts, found)
    for _, process in ipairs(facts.system.processes) do
      local severity = nearness(process.descriptors, process.descriptors_max)
      if severity and process.role == "host" then
        found { object = "moonrabbit process " .. process.pid, severity = severity,
          what = ("%s open descriptors of %s"):format(commas(process.descriptors), commas(process.descriptors_max)),
          line = "LimitNOFILE=65536", figures = { used = process.descriptors, limit = process.descriptors_max } }
      end
    end
  end,
}

rule("program-sockets", "system", { "warning" }) {
  why = "A program needs a socket for each worker and a few for its connections. Many more are connections that "
    .. "were left behind.",
  ["do"] = "See where they lead, and report it as a fault of moonrabbit:",
  check = function(facts, found)
    for _, program in ipairs(programs_of(facts.system.processes)) do
      local most = SOCKETS_PER_WORKER * program.workers + SOCKETS_BESIDES
      if (program.host.sockets or 0) > most then
        found { object = "moonrabbit process " .. program.host.pid,
          what = ("%s for %s"):format(counted(program.host.sockets, "socket"), counted(program.workers, "worker")),
          line = ("ss -tnp | grep pid=%d,"):format(program.host.pid),
          figures = { sockets = program.host.sockets, workers = program.workers } }
      end
    end
  end,
}

rule("machine-memory", "system", { "warning" }) {
  why = "Where the machine has no memory left, the kernel ends the process that it finds largest, whoever leaks.",
  ["do"] = "See who holds it:",
  check = function(facts, found)
    local machine = facts.system.machine
    local free, total = machine.memory_free, machine.memory_of_machine
    if free and total and free < FREE_MEMORY_SHARE * total then
      found { object = "this machine", what = ("%s of %s of memory are free"):format(size(free), size(total)),
        line = "ps -eo rss,pid,args --sort=-rss | head", figures = { free = free, total = total } }
    end
  end,
}

rule("memory-bounds", "system", { "warning" }) {
  why = "The monitor acts at memory.critical. Where machine or container end before that, the kernel kills the "
    .. "program in the middle of its messages.",
  ["do"] = "Set the thresholds below what there is, or give it more:",
  check = function(facts, found)
    local total = facts.system.machine.memory_total
    local needed = facts.config.memory_critical + facts.config.cache_memory
    if total and needed > total then
      found { object = "memory.critical",
        what = ("memory.critical and cache.memory are %s together, and this machine or container has %s"):format(
          size(needed), size(total)),
        line = ('memory = { warning = "%dMiB", critical = "%dMiB" }'):format(
          math.max(math.floor(total / 4 / MIB), 1), math.max(math.floor(total / 2 / MIB), 1)),
        figures = { needed = needed, total = total } }
    end
  end,
}

rule("machine-descriptors", "system", { "warning", "critical" }) {
  why = "The machine's open files are counted together: where they run out no process can open anything.",
  ["do"] = "See who holds them, and raise the limit:",
  check = function(facts, found)
    local machine = facts.system.machine
    local severity = nearness(machine.descriptors, machine.descriptors_max)
    if severity then
      found { object = "this machine", severity = severity,
        what = ("%s open files of %s"):format(commas(machine.descriptors), commas(machine.descriptors_max)),
        line = "sysctl fs.file-max=2097152", figures = { used = machine.descriptors, limit = machine.descriptors_max } }
    end
  end,
}

return rules
