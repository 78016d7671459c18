-- The doctor's rules, loaded as the program loads them, and the facts of a broker and a program at which they
-- find nothing: what specs spoil, one thing at a time.
local root = require "support.root"

local MIB = 1024 * 1024

local doctor = { MIB = MIB }

local function format_size(bytes)
  return bytes % MIB == 0 and ("%dMiB"):format(bytes / MIB) or ("%d"):format(bytes)
end

local function format_duration(seconds)
  return ("%gs"):format(seconds)
end

---A script of the program, by its name there: "doctor_rules" is moonrabbit.doctor_rules.
---@param name string
---@return any what it returns
function doctor.script(name)
  local host = package.loaded["moonrabbit.host"]
  if not host or host.open then -- none, or that of the program that runs the specs
    package.loaded["moonrabbit.host"] = { format_size = format_size, format_duration = format_duration,
      now = os.clock }
  end
  for _, part in ipairs { "words", "doctor_judging", "doctor_facts", "doctor_management", "doctor_report",
    "doctor_rules", "doctor_rules_program", "doctor_rules_clients", "doctor_rules_queues",
    "doctor_rules_server" } do
    package.preload["moonrabbit." .. part] = package.preload["moonrabbit." .. part] or function()
      return assert(loadfile(("%s/scripts/%s.lua"):format(root, part)))()
    end
  end
  return require("moonrabbit." .. name)
end

---The facts of a program with one consumer, of queue "orders" with dead letters in "orders.dead".
---@return table facts as scripts/doctor_facts.lua gathers them
function doctor.healthy()
  local consumer = {
    name = "orders", queue = "orders", handler = "orders.lua", dead_letter = "orders.dead", workers = 2,
    prefetch = 10, memory = 64 * MIB, message = 16 * MIB, deadline = 30, grace = 1, recycle_memory = 48 * MIB,
    declared = true, max_length = 100000,
  }
  local queue = { name = "orders", type = "classic", messages = 10, unacked = 5, bytes = 1000, consumers = 1,
    growth = 0, max_length = 100000, detailed = true }
  local dead = { name = "orders.dead", type = "classic", messages = 0, unacked = 0, bytes = 0, consumers = 0,
    growth = 0, max_length = 100000, detailed = true }
  local connection = { name = "10.0.0.1:4000 -> 10.0.0.9:5672", user = "shop", client = "10.0.0.1",
    protocol = "AMQP 0-9-1", channels = 2, channel_max = 16, heartbeat = 60, state = "running" }
  local channel = { name = connection.name .. " (1)", connection = connection.name, unacked = 5,
    prefetch = 10,
    global_prefetch = 0, consumers = 1, acks = 100 }
  local node = {
    name = "rabbit@box", running = true, mem_used = 200 * MIB, mem_limit = 1000 * MIB, mem_alarm = false,
    disk_free = 10000 * MIB, disk_free_limit = 50 * MIB, disk_free_alarm = false, fd_used = 50,
      fd_total = 1000,
    sockets_used = 10, sockets_total = 900, proc_used = 400, proc_total = 1000000,
    memory = { binaries = 10 * MIB, mnesia = MIB, queues = MIB, connections = MIB, unused = 5 * MIB },
  }
  local host = { pid = 100, parent = 1, role = "host", bytes = 10 * MIB, descriptors = 20, sockets = 6,
    descriptors_max = 1024 }
  local worker = { pid = 101, parent = 100, role = "worker", bytes = 10 * MIB, descriptors = 8, sockets = 1,
    descriptors_max = 32 }
  return {
    config = { file = "moonrabbit.lua", vhost = "/", heartbeat = 60, management = true,
      memory_warning = 256 * MIB, memory_critical = 512 * MIB, cache_memory = 32 * MIB,
        consumers = { consumer } },
    handlers = { checked = true },
    amqp = { name = "amqp://box:5672/%2f", queues = { orders = { messages = 10, consumers = 1 } } },
    management = {
      version = "3.10.8", connections_created = 0.1, channels_created = 0.2, queues = { queue, dead },
      connections = { connection }, channels = { channel }, nodes = { node },
      consumers = { { tag = "vm-1-orders", queue = "orders", prefetch = 10, acks = true,
        channel = channel.name, connection = connection.name } },
    },
    queues = { queue, dead },
    system = {
      machine = { memory_total = 8000 * MIB, memory_of_machine = 8000 * MIB, memory_free = 4000 * MIB,
        descriptors = 1000, descriptors_max = 100000, sockets = 200, ports = 28000 },
      processes = { host, worker },
    },
  }
end

---@param rule table of doctor.rules()
---@param facts table
---@return table[] findings
function doctor.findings(rule, facts)
  local findings = {}
  rule.check(facts, function(finding) findings[#findings + 1] = finding end)
  return findings
end

return doctor
