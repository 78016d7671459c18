-- What moonrabbit takes while there is nothing to do: memory of host and one worker together, and how often
-- they wake up. By default the monitor's timer wakes the host every 5 s, and once more the broker's answer to
-- its question for the queue's depth; what else there is shows where that timer is put off for an hour.
local linux = require "support.linux"
local process = require "support.process"

local SETTLE_SECONDS, LOOK_SECONDS = 3, 10
local MIB = 1024 -- KiB
local VARIANTS = { "by default", "without the monitor's timer" }
local FLAGS = { [VARIANTS[1]] = {}, [VARIANTS[2]] = { ["memory-interval"] = "1h" } }

-- Whenever a thread waits for something the kernel counts it, and so each time that it woke up.
local function waits(pid)
  return assert(process.status(pid, "voluntary_ctxt_switches"), "it has ended")
end

local function kib(pid, name)
  return tonumber(process.proc(pid, "smaps_rollup"):match("\n" .. name .. ":%s*(%d+)"))
end

-- `pss` divides what is shared among all processes of the machine that have it; `once` is all of the host's,
-- and of the worker's what is nobody else's.
local function memory_of(host, worker)
  return {
    pss_mib = (kib(host, "Pss") + kib(worker, "Pss")) / MIB,
    once_mib = (kib(host, "Rss") + kib(worker, "Private_Clean") + kib(worker, "Private_Dirty")) / MIB,
  }
end

local function measure(bench, variant)
  local queue = bench.rabbit().queue "idle"
  local consumer = require "support.consumer" -- which wants the broker to be there
  local flags = { ["status-listen"] = "127.0.0.1:0" }
  for name, value in pairs(FLAGS[variant]) do flags[name] = value end
  local program = consumer.start(queue, "return function() end", flags)
  consumer.wait_consuming(program)
  linux.sleep(SETTLE_SECONDS)
  local host, worker = program.pid, program:children()[1]
  local host_before, worker_before = waits(host), waits(worker)
  linux.sleep(LOOK_SECONDS)
  local figures = memory_of(host, worker)
  figures.host = waits(host) - host_before
  figures.worker = waits(worker) - worker_before
  bench.clean_up()
  return figures
end

return {
  about = "memory and wake-ups of host and one worker that have nothing to do",
  run = function(bench)
    local rows, results = {}, {}
    for i, variant in ipairs(VARIANTS) do
      local it = measure(bench, variant)
      results[variant] = it
      rows[i] = { variant, it.host, it.worker, it.once_mib, it.pss_mib }
    end
    bench.table({ ("idle for %d s"):format(LOOK_SECONDS), "host wakes", "worker wakes",
      "MiB, shared counted once", "MiB, shared divided (Pss)" }, rows)
    local usual, bare = results[VARIANTS[1]], results[VARIANTS[2]]
    bench.claim("idle: host and worker take under 12 MiB together, what they share counted once",
      usual.once_mib < 12, usual.once_mib)
    bench.claim("idle: nothing wakes them but the monitor's timer", bare.host + bare.worker == 0,
      bare.host + bare.worker)
    return results
  end,
}
