-- The doctor's rules for whoever is connected to the broker: the layers connection and consumer.
local host = require "moonrabbit.host"
local judging = require "moonrabbit.doctor_judging"
local words = require "moonrabbit.words"

local commas, counted, duration = words.with_commas, words.counted, host.format_duration
local each_of, rate, describe_connection = judging.each_of, judging.rate, judging.describe_connection

local CONNECTIONS_MANY = 30 -- of one client; moonrabbit has two for each program
local CHANNELS_MANY = 100   -- on one connection
local CONNECTIONS_A_SECOND, CHANNELS_A_SECOND = 5, 20
local PREFETCH_MANY = 1000
local PREFETCH_NEAR, IDLE_SECONDS = 0.9, 60
local UNACKED_MANY = 10000  -- in one queue
local CONSUMER_TIMEOUT_SECONDS = 30 * 60 -- RabbitMQ's, where a queue has none of its own

local LIST_CHANNELS = "rabbitmqctl list_channels connection number prefetch_count messages_unacknowledged"

-- Other protocols have a keep-alive of their own.
local function speaks_amqp(connection)
  return not connection.protocol or connection.protocol:find("^AMQP") ~= nil
end

-- A client is a user of one program on one machine.
local function clients_of(facts)
  local clients, list = {}, {}
  for _, connection in each_of(facts, "connections") do
    local user, address = connection.user or "?", connection.client or "?"
    local key = table.concat({ user, address, connection.product or "" }, "\0")
    local client = clients[key]
    if not client then
      local product = connection.product and " (" .. connection.product .. ")" or ""
      client = { name = ("client %s at %s%s"):format(user, address, product), connections = 0, idle = 0 }
      clients[key], list[#list + 1] = client, client
    end
    client.connections = client.connections + 1
    if connection.channels == 0 then client.idle = client.idle + 1 end
  end
  return list
end

local connection_rules = {
  {
    name = "heartbeat-off", severities = { "warning" },
    why = "Without heartbeats nobody notices that the other end has vanished without a word: the broker " ..
      "keeps the connection, its channels and all unacked messages for hours.",
    advice = "Leave broker.heartbeat at its default, or set it:",
    check = function(facts, found)
      if facts.config.heartbeat == 0 then
        found { object = "broker.heartbeat", what = "this program's heartbeat is off",
          line = 'broker = { heartbeat = "60s" }' }
      end
    end,
  },
  {
    name = "no-heartbeat", severities = { "warning" },
    why = "A client that vanishes without a word (a cable, a killed machine, a firewall that forgets) is " ..
      "never noticed: the connection, its channels and all unacked messages stay in the broker for hours.",
    advice = "Have that client ask for a heartbeat; 60 s suit most. Those that are dead already are " ..
      "closed by:",
    check = function(facts, found)
      for _, connection in each_of(facts, "connections") do
        if connection.heartbeat == 0 and speaks_amqp(connection) then
          found {
            object = describe_connection(connection),
            what = ("user %s has no heartbeat on it"):format(connection.user or "?"),
            line = "rabbitmqctl list_connections pid name; rabbitmqctl close_connection PID 'is dead'",
            figures = { channels = connection.channels },
          }
        end
      end
    end,
  },
  {
    name = "many-connections", severities = { "warning", "critical" },
    why = "Each connection costs the broker about 100 KiB, a descriptor and some processes. A client that " ..
      "opens one for each message or request, and closes few, takes all of them in the end.",
    advice = "Have it open one for each process at its start, and keep that. What is open:",
    check = function(facts, found)
      for _, client in ipairs(clients_of(facts)) do
        if client.connections >= CONNECTIONS_MANY then
          local critical = client.connections >= judging.MUCH_MORE * CONNECTIONS_MANY
          found {
            object = client.name, severity = critical and "critical" or "warning",
            what = ("%s, %s of them without a channel"):format(counted(client.connections, "connection"),
              commas(client.idle)),
            line = "rabbitmqctl list_connections user peer_host peer_port channels connected_at",
            figures = { connections = client.connections, idle = client.idle },
          }
        end
      end
    end,
  },
  {
    name = "many-channels", severities = { "warning", "critical" },
    why = "Each channel is a process of the broker with buffers of its own. A client that opens one for " ..
      "each message and does not close it meets channel_max, and then every further one fails.",
    advice = "Have it use one for each thread or consumer, and keep that. What is open:",
    check = function(facts, found)
      for _, connection in each_of(facts, "connections") do
        local channels, most = connection.channels or 0, connection.channel_max or 0
        if channels >= CHANNELS_MANY then
          found {
            object = describe_connection(connection),
            severity = most > 0 and channels >= judging.NEAR * most and "critical" or "warning",
            what = counted(channels, "channel") .. (most > 0 and " of at most " .. commas(most) or ""),
            line = "rabbitmqctl list_channels connection number consumer_count messages_unacknowledged",
            figures = { channels = channels, channel_max = most },
          }
        end
      end
    end,
  },
  {
    name = "churn", severities = { "warning" },
    why = "A connection or channel for each message costs the broker more than the message does, leaves " ..
      "sockets behind for a minute each, and leaks wherever an error skips the close.",
    advice = "Keep connections and channels for the life of a process. Who does not:",
    check = function(facts, found)
      local function judge(number, most, what)
        if (number or 0) < most then return end
        found { object = "the broker", what = ("%s are opened: %s"):format(what, rate(number)),
          line = "rabbitmqctl list_connections user peer_host connected_at", figures = { rate = number } }
      end
      judge(facts.management and facts.management.connections_created, CONNECTIONS_A_SECOND, "connections")
      judge(facts.management and facts.management.channels_created, CHANNELS_A_SECOND, "channels")
    end,
  },
}

-- Consumers.

local function describe_consumer(consumer)
  return ("consumer %s of queue %s"):format(consumer.tag, consumer.queue)
end

local function channels_by_name(facts)
  local by_name = {}
  for _, channel in each_of(facts, "channels") do by_name[channel.name] = channel end
  return by_name
end

-- How many messages a channel may hold: nil without a limit.
local function room_of(channel)
  local of_consumers = (channel.prefetch or 0) * math.max(channel.consumers or 0, 1)
  local of_all = channel.global_prefetch or 0
  if of_consumers == 0 or of_all == 0 then
    local room = math.max(of_consumers, of_all)
    return room > 0 and room or nil
  end
  return math.min(of_consumers, of_all)
end

-- How long the broker waits for the ack of a message from this queue, and a message of the consumer may take.
local function times_of(facts, consumer)
  local queue = judging.queue_named(facts, consumer.queue)
  local own = queue and queue.consumer_timeout
  return own and own / 1000 or CONSUMER_TIMEOUT_SECONDS, consumer.deadline + consumer.grace
end

local consumer_rules = {
  {
    name = "no-prefetch", severities = { "critical" },
    why = "Without a limit the broker pushes the whole queue into the consumer at once: a backlog of a " ..
      "million messages is then in its memory, all of it unacked.",
    advice = "Set one before it consumes (basic.qos), as moonrabbit does for its own:",
    check = function(facts, found)
      local channels = channels_by_name(facts)
      for _, consumer in each_of(facts, "consumers") do
        local channel = channels[consumer.channel or ""] or {}
        if consumer.prefetch == 0 and consumer.acks ~= false and (channel.global_prefetch or 0) == 0 then
          found {
            object = describe_consumer(consumer),
            what = ("its prefetch is 0, which is no limit (%s)"):format(consumer.connection or "?"),
            line = "channel.basic_qos(prefetch_count=10)", figures = { unacked = channel.unacked },
          }
        end
      end
    end,
  },
  {
    name = "auto-ack", severities = { "warning" },
    why = "What the broker has sent counts as done: no prefetch holds it back, it piles up in the " ..
      "consumer's memory, and is lost when that ends.",
    advice = "Consume with acks and a prefetch:",
    check = function(facts, found)
      for _, consumer in each_of(facts, "consumers") do
        if consumer.acks == false then
          found {
            object = describe_consumer(consumer),
            what = ("it takes messages without acking them (%s)"):format(consumer.connection or "?"),
            line = "channel.basic_consume(queue, auto_ack=False)",
          }
        end
      end
    end,
  },
  {
    name = "prefetch-high", severities = { "warning" },
    why = "So many messages are in the consumer's memory, and go back to the queue all at once when it " ..
      "dies. Beyond some hundreds no more get done in the same time.",
    advice = "Lower it; 10 to 300 suit most:",
    check = function(facts, found)
      local own = {}
      local function judge(object, prefetch, line)
        if (prefetch or 0) <= PREFETCH_MANY then return end
        found { object = object, what = "its prefetch is " .. commas(prefetch), line = line,
          figures = { prefetch = prefetch } }
      end
      for _, consumer in ipairs(facts.config.consumers) do
        own[consumer.queue .. "\0" .. consumer.prefetch] = true
        judge("consumer " .. consumer.name, consumer.prefetch, "prefetch = 100")
      end
      for _, consumer in each_of(facts, "consumers") do
        if not own[consumer.queue .. "\0" .. (consumer.prefetch or 0)] then
          judge(describe_consumer(consumer), consumer.prefetch, "channel.basic_qos(prefetch_count=100)")
        end
      end
    end,
  },
  {
    name = "unacked-high", severities = { "warning", "critical" },
    why = "Unacked messages are in the memory of broker and consumer both. So many mean that consumers " ..
      "forget to ack, or hold more than they can handle.",
    advice = "Find the channel that holds them, and lower its prefetch or mend its acks:",
    check = function(facts, found)
      for _, queue in ipairs(facts.queues) do
        local unacked = queue.unacked or 0
        if unacked > UNACKED_MANY then
          found {
            object = "queue " .. queue.name,
            severity = unacked > judging.MUCH_MORE * UNACKED_MANY and "critical" or "warning",
            what = counted(unacked, "message") .. " unacked", line = LIST_CHANNELS,
            figures = { unacked = unacked },
          }
        end
      end
    end,
  },
  {
    name = "unacked-near-prefetch", severities = { "info", "warning" },
    why = "All that the broker may hand out ahead waits on the consumer. While acks come that is work; " ..
      "where none come for long it is stuck or forgets to ack, and nothing moves any more.",
    advice = "See whether it works (its log, its processor time); one that hangs has to be ended:",
    check = function(facts, found)
      for _, channel in each_of(facts, "channels") do
        local room, unacked = room_of(channel), channel.unacked or 0
        if room and (channel.consumers or 0) > 0 and unacked >= PREFETCH_NEAR * room then
          local acks, idle = channel.acks or 0, channel.idle or 0
          local stuck = acks == 0 and idle >= IDLE_SECONDS
          found {
            object = "channel " .. channel.name, severity = stuck and "warning" or "info",
            what = ("%s unacked of %s that it may hold, and %s"):format(commas(unacked), commas(room),
              stuck and "nothing moves for " .. duration(idle) or acks > 0 and "acks come: " .. rate(acks) or
              "no acks come, for less than a minute"),
            line = LIST_CHANNELS, figures = { unacked = unacked, room = room, acks = acks, idle = idle },
          }
        end
      end
    end,
  },
  {
    name = "consumer-timeout", severities = { "critical" },
    why = "The broker closes the channel of a consumer that keeps a message longer than consumer_timeout, " ..
      "and delivers all of its messages again, the slow one too: nothing gets done, and the queue grows.",
    advice = "Make limits.deadline shorter than the queue's consumer_timeout, or raise that:",
    check = function(facts, found)
      for _, consumer in ipairs(facts.config.consumers) do
        local timeout, longest = times_of(facts, consumer)
        if longest >= timeout then
          found {
            object = "consumer " .. consumer.name,
            what = ("a message may take %s (limits.deadline and limits.grace), and queue %s waits %s"):format(
              duration(longest), consumer.queue, duration(timeout)),
            line = ('limits = { deadline = "%s" }'):format(duration(math.max(math.floor(timeout / 2), 1))),
            figures = { longest = longest, timeout = timeout },
          }
        end
      end
    end,
  },
  {
    name = "prefetch-outlasts-timeout", severities = { "info" },
    why = "The broker counts consumer_timeout from when it hands a message out, and the last of a full " ..
      "prefetch waits for all before it. If each took as long as it may, the channel would be closed.",
    advice = "Where messages do take long, lower prefetch or run more workers:",
    check = function(facts, found)
      for _, consumer in ipairs(facts.config.consumers) do
        local timeout, longest = times_of(facts, consumer)
        local all = math.ceil(consumer.prefetch / consumer.workers) * longest
        if all >= timeout and longest < timeout then
          found {
            object = "consumer " .. consumer.name,
            what = ("prefetch %d on %s at %s each may take %s, and queue %s waits %s"):format(
              consumer.prefetch, counted(consumer.workers, "worker"), duration(longest), duration(all),
              consumer.queue, duration(timeout)),
            line = "prefetch = " .. math.max(consumer.workers * (math.ceil(timeout / longest) - 1), 1),
            figures = { longest = all, timeout = timeout },
          }
        end
      end
    end,
  },
}

return { judging.layer("connection", connection_rules), judging.layer("consumer", consumer_rules) }
