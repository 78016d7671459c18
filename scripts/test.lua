-- The module `moonrabbit.test`: handlers on trial, for specs that `moonrabbit test` runs. A worker here is a
-- real worker process, in the very sandbox and under the very limits of production; only the broker is
-- missing.
--
--     local mr = require "moonrabbit.test"
--     local worker = mr.worker("handler.lua", { limits = { memory = "8MiB" } })
--     local r = worker:deliver { body = { id = 1 } }
--     assert.equal("reject", r.verdict)
local host = require "moonrabbit.host"
local messages = require "moonrabbit.message"

local M = {}

local Worker = {}
Worker.__index = Worker

-- Options are the keys of a consumer, and cache, log and sandbox of the whole configuration: as flags.
local function add_flags(flags, prefix, options)
  for name, value in pairs(options) do
    if type(name) ~= "string" then error("an option has no name: give name = value", 0) end
    local flag = prefix .. name:gsub("_", "-")
    if type(value) == "table" and value[1] == nil then
      add_flags(flags, flag .. "-", value)
    elseif type(value) == "table" then
      flags[#flags + 1] = { flag, table.concat(value, ",") }
    elseif type(value) == "number" then
      flags[#flags + 1] = { flag, ("%.14g"):format(value) }
    else
      flags[#flags + 1] = { flag, tostring(value) }
    end
  end
  return flags
end

local function without_file(options)
  local copy, file = {}, options.config
  for name, value in pairs(options) do copy[name] = value end
  copy.config = nil
  if not file then copy.queue = copy.queue or "test" end
  return copy, file
end

---A worker with the script loaded. `options` are keys of the configuration, such as limits, recycle, decode,
---retry, queue and cache; `config` is a configuration file, which says what the consumer of the script has.
---The environment is not looked at.
---@param script string path of the handler
---@param options? table
---@return table worker
function M.worker(script, options)
  if type(script) ~= "string" then error("the script is a " .. type(script) .. ": give its path", 2) end
  local keys, file = without_file(options or {})
  local ok, flags = pcall(add_flags, {}, "", keys)
  if not ok then error(flags, 2) end
  local trial, problems = host.open { handler = script, file = file, flags = flags }
  if not trial then error(problems, 2) end
  return setmetatable({ trial = trial, script = script }, Worker)
end

---Hands over one message, and waits for what comes of it. A message is a table of the fields that a handler
---sees, or only its body; a body that is no string is sent as JSON.
---@param message table|string
---@return table result verdict, settlement, cause, reason, error, traceback, elapsed, delay, wait, memory,
---attempt, published, logs
function Worker:deliver(message)
  local ok, result = pcall(function()
    local complete = messages.complete(message)
    local outcome = messages.explain(self.trial:deliver(complete))
    outcome.attempt = complete.attempt
    return outcome
  end)
  if not ok then error(result, 2) end
  return result
end

---@param list table[] messages, as deliver takes them
---@return table[] results, in the same order
function Worker:deliver_all(list)
  local results = {}
  for i, message in ipairs(list) do results[i] = self:deliver(message) end
  return results
end

---How long a message would wait for its next attempt after this one has failed, by the retry policy and where
---the handler names no delay itself: between min and max seconds. Nil after the last attempt.
---@param attempt integer 1 for the first
---@return table|nil wait
function Worker:retry_delay(attempt)
  local ok, wait = pcall(self.trial.retry_wait, self.trial, attempt)
  if not ok then error((wait:gsub("^bad argument #%d+ to '.-' %((.*)%)$", "%1")), 2) end
  return wait
end

---Exchanges the Lua state for a new one, as recycling does.
---@return table recycled messages that the old state had handled, memory (bytes) that lived in it, peak
function Worker:recycle()
  return self.trial:recycle()
end

---What grows with every message: looks for leaks, and gives what was found now and before.
---@return table[] leaks { path, kind, entries, entries_per_message, bytes, bytes_per_message, sample }
function Worker:leaks()
  local leaks = self.trial:leaks()
  for _, leak in ipairs(leaks) do leak.text = nil end -- a line of replay's report
  return leaks
end

---The shared cache, with the functions that handlers have (but `space`).
---@return table cache
function Worker:cache()
  local functions, trial = self.trial:cache(), self.trial
  for name, call in pairs(functions) do
    functions[name] = function(...)
      trial:limits() -- raises where the worker is closed, and with it the cache
      return call(...)
    end
  end
  return functions
end

---Moves the clock by which the cache's entries expire. What os.time says to handlers stays.
---@param by number|string seconds, or a time such as "1h"
function Worker:advance(by)
  local seconds = type(by) == "string" and host.parse_duration(by) or by
  if type(seconds) ~= "number" then error('give seconds, or a time such as "1h"', 2) end
  self.trial:move_clock(seconds)
end

---The log lines of loading, setup and teardown, which belong to no message, since this was last asked.
---@return table[] lines
function Worker:logs()
  return self.trial:logs()
end

---What setup and teardown published since this was last asked, as `published` of a result has it.
---@return table[] published
function Worker:published()
  return self.trial:published()
end

---How often it was replaced and recycled so far: { processes = 1, recycled = { messages = 0, … } }.
---@return table counts
function Worker:counts()
  return self.trial:counts()
end

---Lets teardown run, and ends the process. A worker that nobody closes is killed when it is garbage.
function Worker:close()
  self.trial:stop()
end

return M
