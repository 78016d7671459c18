-- The doctor's rules for this program and the machine that it runs on: the layers application and system.
local host = require "moonrabbit.host"
local judging = require "moonrabbit.doctor_judging"
local words = require "moonrabbit.words"

local commas, counted, size = words.with_commas, words.counted, host.format_size
local nearness = judging.nearness

local MIB = 1024 * 1024
local RECYCLE_SHARE_MAX, RECYCLE_SHARE = 0.9, 0.75 -- of limits.memory; the rest is the message's at hand
local FREE_SHARE_MIN = 0.1                         -- of the machine's memory
local SOCKETS_PER_WORKER, SOCKETS_BESIDES = 4, 80  -- besides: connections, clients of the status page

-- A size that a person would write, in steps of 64 MiB.
local function round_up(bytes)
  return ("%dMiB"):format(math.ceil(bytes / (64 * MIB)) * 64)
end

local function memory_line(warning, critical)
  return ('memory = { warning = "%s", critical = "%s" }'):format(warning, critical)
end

-- What all workers together may hold before they are recycled; how many they are.
local function workers_may_hold(config)
  local bytes, workers = 0, 0
  for _, consumer in ipairs(config.consumers) do
    bytes = bytes + consumer.workers * consumer.recycle_memory
    workers = workers + consumer.workers
  end
  return bytes, workers
end

local application = {
  {
    name = "handler-fails", severities = { "critical" },
    why = "A consumer that does not start leaves its queue to grow.",
    advice = "Correct what is named, until this says ok:",
    check = function(facts, found)
      if facts.handlers.error then
        found { object = "the handlers", what = facts.handlers.error, line = "moonrabbit check" }
      end
    end,
  },
  {
    name = "memory-thresholds", severities = { "info", "warning" },
    why = "A worker may fill its Lua state up to recycle.memory before it gets a new one. Where all of " ..
      "them together come over memory.critical by that alone, the monitor recycles workers that do " ..
      "nothing wrong.",
    advice = "Set the thresholds above what the workers may hold, or run fewer workers:",
    check = function(facts, found)
      local config = facts.config
      local bytes, workers = workers_may_hold(config)
      local over = bytes > config.memory_critical and "critical" or "warning"
      local limit = config["memory_" .. over]
      if bytes <= limit then return end
      found {
        object = "memory." .. over, severity = over == "critical" and "warning" or "info",
        what = ("%s may hold %s in all (recycle.memory), and memory.%s is %s"):format(
          counted(workers, "worker"), size(bytes), over, size(limit)),
        line = memory_line(round_up(bytes), round_up(2 * bytes)),
        figures = { bytes = bytes, limit = limit, workers = workers },
      }
    end,
  },
  {
    name = "recycle-near-limit", severities = { "warning" },
    why = "A state lives on until it holds recycle.memory. What limits.memory leaves above that is all " ..
      "that a message then has, and it fails for memory though the handler leaks nothing.",
    advice = "Recycle earlier, at three quarters of the limit:",
    check = function(facts, found)
      for _, consumer in ipairs(facts.config.consumers) do
        local recycle, limit = consumer.recycle_memory, consumer.memory
        if recycle > RECYCLE_SHARE_MAX * limit then
          found {
            object = "consumer " .. consumer.name,
            what = ("recycle.memory is %s, and limits.memory %s"):format(size(recycle), size(limit)),
            line = ('recycle = { memory = "%s" }'):format(size(math.floor(RECYCLE_SHARE * limit))),
            figures = { recycle = recycle, limit = limit },
          }
        end
      end
    end,
  },
  {
    name = "messages-in-host", severities = { "info" },
    why = "The host holds up to prefetch messages of up to limits.message each: so much the broker may " ..
      "push into this program when large messages come.",
    advice = "Where messages are small, say so; else lower prefetch:",
    check = function(facts, found)
      for _, consumer in ipairs(facts.config.consumers) do
        local bytes, critical = consumer.prefetch * consumer.message, facts.config.memory_critical
        if bytes > critical then
          found {
            object = "consumer " .. consumer.name,
            what = ("prefetch %d times limits.message %s is %s, and memory.critical is %s"):format(
              consumer.prefetch, size(consumer.message), size(bytes), size(critical)),
            line = 'limits = { message = "1MiB" }', figures = { bytes = bytes, limit = critical },
          }
        end
      end
    end,
  },
}

-- Each host process with its workers, and what they hold together.
local function programs_of(facts)
  local programs, by_pid = {}, {}
  for _, process in ipairs(facts.system.processes) do
    if process.role == "host" then
      local program = { host = process, workers = 0, bytes = process.bytes or 0 }
      programs[#programs + 1], by_pid[process.pid] = program, program
    end
  end
  for _, process in ipairs(facts.system.processes) do
    local program = process.role == "worker" and by_pid[process.parent]
    if program then
      program.workers, program.bytes = program.workers + 1, program.bytes + (process.bytes or 0)
    end
  end
  return programs
end

local system = {
  {
    name = "program-memory", severities = { "warning", "critical" },
    why = "At memory.warning the program says so in its log; at memory.critical it recycles its largest " ..
      "worker. One that stays there has a handler that leaks, or thresholds that are too low.",
    advice = "Its log names what is recycled, and why. What each process holds:",
    check = function(facts, found)
      local config = facts.config
      for _, program in ipairs(programs_of(facts)) do
        local pid, bytes = program.host.pid, program.bytes
        local limit = bytes >= config.memory_critical and "critical" or "warning"
        if bytes >= config["memory_" .. limit] then
          found {
            object = "moonrabbit process " .. pid, severity = limit,
            what = ("it and %s hold %s, and memory.%s of this configuration is %s"):format(
              counted(program.workers, "worker"), size(bytes), limit, size(config["memory_" .. limit])),
            line = ("ps -o pid,rss,etime,args --pid %d --ppid %d"):format(pid, pid),
            figures = { bytes = bytes, workers = program.workers },
          }
        end
      end
    end,
  },
  {
    name = "program-descriptors", severities = { "warning", "critical" },
    why = "A process without descriptors can open no connection and start no worker.",
    advice = "Raise the limit of whatever starts it; for a unit of systemd:",
    check = function(facts, found)
      for _, process in ipairs(facts.system.processes) do
        local used, limit = process.descriptors, process.descriptors_max
        local severity = process.role == "host" and nearness(used, limit)
        if severity then
          found {
            object = "moonrabbit process " .. process.pid, severity = severity,
            what = ("%s open descriptors of %s"):format(commas(used), commas(limit)),
            line = "LimitNOFILE=65536", figures = { used = used, limit = limit },
          }
        end
      end
    end,
  },
  {
    name = "program-sockets", severities = { "warning" },
    why = "A program needs a socket for each worker and a few for its connections and the clients of its " ..
      "status page. Many more are connections that were left behind.",
    advice = "See where they lead, and report it: it is a fault of moonrabbit.",
    check = function(facts, found)
      for _, program in ipairs(programs_of(facts)) do
        local sockets, pid = program.host.sockets or 0, program.host.pid
        if sockets > SOCKETS_PER_WORKER * program.workers + SOCKETS_BESIDES then
          found {
            object = "moonrabbit process " .. pid,
            what = ("%s for %s"):format(counted(sockets, "socket"), counted(program.workers, "worker")),
            line = ("ss -tnp | grep pid=%d,"):format(pid),
            figures = { sockets = sockets, workers = program.workers },
          }
        end
      end
    end,
  },
  {
    name = "memory-bounds", severities = { "warning" },
    why = "The monitor acts at memory.critical. Where machine or container end before that, the kernel " ..
      "kills the program in the middle of its messages.",
    advice = "Set the thresholds below what there is, or give it more:",
    check = function(facts, found)
      local total = facts.system.machine.memory_total
      local needed = facts.config.memory_critical + facts.config.cache_memory
      if total and needed > total then
        local function share(part) return ("%dMiB"):format(math.max(math.floor(total * part / MIB), 1)) end
        found {
          object = "memory.critical",
          what = ("with cache.memory it is %s, and this machine or container has %s"):format(size(needed),
            size(total)),
          line = memory_line(share(0.25), share(0.5)), figures = { needed = needed, total = total },
        }
      end
    end,
  },
  {
    name = "machine-memory", severities = { "warning" },
    why = "Where the machine has no memory left, the kernel ends the process that it finds largest, " ..
      "whoever leaks.",
    advice = "See who holds it:",
    check = function(facts, found)
      local free, total = facts.system.machine.memory_free, facts.system.machine.memory_of_machine
      if free and total and free < FREE_SHARE_MIN * total then
        found {
          object = "this machine", what = ("%s of %s of memory are free"):format(size(free), size(total)),
          line = "ps -eo rss,pid,args --sort=-rss | head", figures = { free = free, total = total },
        }
      end
    end,
  },
  {
    name = "machine-sockets", severities = { "warning" },
    why = "A connection to one address needs a port of its own, and keeps it for a minute after its end. " ..
      "Where ports run out no further connection to that address can be opened.",
    advice = "Find what opens so many, and have it keep them open:",
    check = function(facts, found)
      local sockets, ports = facts.system.machine.sockets, facts.system.machine.ports
      if nearness(sockets, ports) then
        found {
          object = "this machine",
          what = ("%s TCP sockets, and %s ports for connections that leave it"):format(commas(sockets),
            commas(ports)),
          line = "ss -tan | awk '{print $1, $5}' | sort | uniq -c | sort -rn | head",
          figures = { sockets = sockets, ports = ports },
        }
      end
    end,
  },
  {
    name = "machine-descriptors", severities = { "warning", "critical" },
    why = "The machine's open files are counted together: where they run out no process can open " ..
      "anything.",
    advice = "See who holds them, and raise the limit:",
    check = function(facts, found)
      local used, limit = facts.system.machine.descriptors, facts.system.machine.descriptors_max
      local severity = nearness(used, limit)
      if severity then
        found {
          object = "this machine", severity = severity,
          what = ("%s open files of %s"):format(commas(used), commas(limit)),
          line = "sysctl fs.file-max=2097152", figures = { used = used, limit = limit },
        }
      end
    end,
  },
}

return { judging.layer("application", application), judging.layer("system", system) }
