-- The doctor's rules for the broker's own nodes: alarms, memory by category, and what runs out.
local host = require "moonrabbit.host"
local judging = require "moonrabbit.doctor_judging"
local words = require "moonrabbit.words"

local commas, size = words.with_commas, host.format_size
local each_of, nearness = judging.each_of, judging.nearness

local MIB = 1024 * 1024
local CATEGORY_SHARE, CATEGORY_BYTES = 0.4, 64 * MIB -- of the node's memory limit; and at least
local DISK_NEAR = 2                                  -- times the limit of free disk

local alarms = {
  {
    name = "node-down", severities = { "critical" },
    why = "What it held is away, its queues fail over or stop, and the other nodes carry its load.",
    advice = "See its log, and start it:",
    check = function(facts, found)
      for _, node in each_of(facts, "nodes") do
        if node.running == false then
          found { object = "node " .. node.name, what = "it does not run",
            line = "rabbitmqctl cluster_status" }
        end
      end
    end,
  },
  {
    name = "memory-alarm", severities = { "warning", "critical" },
    why = "At its memory limit the broker reads nothing more from publishers: they block, in many clients " ..
      "for ever, and what they cannot publish piles up in them.",
    advice = "Have messages consumed, close connections, or raise vm_memory_high_watermark. Who holds it:",
    check = function(facts, found)
      for _, node in each_of(facts, "nodes") do
        local used, limit = node.mem_used, node.mem_limit
        if node.mem_alarm or nearness(used, limit) then
          found {
            object = "node " .. node.name, severity = node.mem_alarm and "critical" or "warning",
            what = (node.mem_alarm and "the memory alarm is on" or "the memory alarm is near") ..
              (used and limit and (": %s in use, the limit is %s"):format(size(used), size(limit)) or ""),
            line = "rabbitmq-diagnostics memory_breakdown", figures = { used = used, limit = limit },
          }
        end
      end
    end,
  },
  {
    name = "disk-alarm", severities = { "warning", "critical" },
    why = "Below its limit of free disk the broker blocks all publishers, as at its memory limit; a full " ..
      "disk ends it.",
    advice = "Free some, or move its data to a larger one (disk_free_limit is the limit). Where its data " ..
      "are:",
    check = function(facts, found)
      for _, node in each_of(facts, "nodes") do
        local free, limit = node.disk_free, node.disk_free_limit
        if node.disk_free_alarm or (free and limit and free < DISK_NEAR * limit) then
          found {
            object = "node " .. node.name, severity = node.disk_free_alarm and "critical" or "warning",
            what = (node.disk_free_alarm and "the disk alarm is on" or "the disk alarm is near") ..
              (free and limit and (": %s are free, the limit is %s"):format(size(free), size(limit)) or ""),
            line = "rabbitmq-diagnostics status", figures = { free = free, limit = limit },
          }
        end
      end
    end,
  },
}

-- One category of a node's memory that takes a large part of its limit.
local function of_memory(category, what, rule)
  rule.severities = { "warning" }
  rule.check = function(facts, found)
    for _, node in each_of(facts, "nodes") do
      local bytes, limit = node.memory[category] or 0, node.mem_limit
      if limit and limit > 0 and bytes >= CATEGORY_BYTES and bytes >= CATEGORY_SHARE * limit then
        found {
          object = "node " .. node.name, line = rule.line, figures = { bytes = bytes, limit = limit },
          what = ("%s: %s, %d %% of its memory limit"):format(what, size(bytes), 100 * bytes / limit),
        }
      end
    end
  end
  return rule
end

local memory = {
  of_memory("binaries", "binaries", {
    name = "memory-binaries",
    why = "Binaries are bodies of messages: those in queues and, above all, those that were handed out " ..
      "and are unacked.",
    advice = "Lower prefetch, ack sooner, keep large bodies out of messages. Who holds them:",
    line = "rabbitmqctl list_channels connection number messages_unacknowledged",
  }),
  of_memory("mnesia", "Mnesia's tables", {
    name = "memory-mnesia",
    why = "Mnesia holds queues, exchanges, bindings and users, on every node. It grows with those that " ..
      "are made for each client, request or day, and never deleted.",
    advice = "Delete what nobody uses, and declare such queues with x-expires. Which they are:",
    line = "rabbitmqctl list_queues name consumers messages",
  }),
  of_memory("queues", "processes of queues", {
    name = "memory-queues",
    why = "Queues keep messages, their index and what is unacked in their processes: long queues, or very " ..
      "many of them.",
    advice = "Bound the long ones, and have them consumed. Which they are:",
    line = "rabbitmqctl list_queues name memory messages messages_unacknowledged",
  }),
  of_memory("connections", "connections and channels", {
    name = "memory-connections",
    why = "Each connection and channel has processes and buffers: very many of them, or some that read " ..
      "slowly, so that what is for them waits.",
    advice = "Find clients that open too many, and those that do not read:",
    line = "rabbitmqctl list_connections name channels send_pend recv_oct send_oct",
  }),
  of_memory("unused", "allocated and unused", {
    name = "memory-unused",
    why = "Erlang's allocators keep what a burst needed, in pieces that they cannot give back: the next " ..
      "burst comes on top of it.",
    advice = "Bound what comes at once (prefetch, max-length); what is left goes with a restart of the " ..
      "node:",
    line = "rabbitmq-diagnostics memory_breakdown",
  }),
}

-- Something that a node has so many of, and no more.
local function of_bound(used, total, what, rule)
  rule.severities = { "warning", "critical" }
  rule.check = function(facts, found)
    for _, node in each_of(facts, "nodes") do
      local severity = nearness(node[used], node[total])
      if severity then
        found {
          object = "node " .. node.name, severity = severity, line = rule.line,
          what = ("%s %s of %s"):format(commas(node[used]), what, commas(node[total])),
          figures = { used = node[used], limit = node[total] },
        }
      end
    end
  end
  return rule
end

local bounds = {
  of_bound("fd_used", "fd_total", "descriptors", {
    name = "broker-descriptors",
    why = "Connections, queues and files take descriptors. Where they run out the broker takes no " ..
      "connections and cannot write.",
    advice = "Find clients that leak connections, and raise the limit in the unit that starts it:",
    line = "LimitNOFILE=65536",
  }),
  of_bound("sockets_used", "sockets_total", "sockets", {
    name = "broker-sockets",
    why = "Each connection is a socket. Where they run out the broker takes no more clients.",
    advice = "Find clients that leak connections:",
    line = "rabbitmqctl list_connections user peer_host state connected_at",
  }),
  of_bound("proc_used", "proc_total", "Erlang processes", {
    name = "broker-processes",
    why = "Connections, channels and queues are Erlang processes. Where they run out the broker dies.",
    advice = "Find who opens so many channels or queues:",
    line = "rabbitmqctl list_connections user peer_host channels",
  }),
}

return { judging.layer("server", alarms), judging.layer("server", memory), judging.layer("server", bounds) }
