-- The corpus of hostile scripts (spec/sandbox): reads what each says at its top, runs those of a category
-- side by side in one program, a consumer each, and tells what came of them by the program's log, its counts
-- and the broker.
--
-- A script begins with comment lines of this form; a line that begins otherwise continues the one above it:
--
--   -- Tries: what it does
--   -- Expect: acked | rejected: TEXT | asked too often | failed: TEXT | out of memory | out of time |
--              killed | compiled | ended | not loaded: TEXT
--   -- Limits: memory=4MiB deadline=300ms          (where the category's do not do)
--
-- "out of time" is the soft end at limits.deadline, "killed" the host's kill behind limits.grace, "ended" one
-- of them. "compiled" stands for a loop that the compiler takes whole: it is killed where LuaJIT's hook does
-- not reach such loops, which `moonrabbit version` tells. "not loaded" is the end of `moonrabbit check`. TEXT
-- is a part of the reason in the log.
local dirent = require "posix.dirent"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local root = require "support.root"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local FOLDER = root .. "/spec/sandbox"
local PATIENCE_SECONDS = 300 -- longer than any slow machine takes: only a hang reaches it

-- The messages of each queue: neighbours before, so that the worker is known to be quick and is handed the
-- rest at once, the attack, and neighbours behind it.
local BEFORE, BEHIND = 3, 4

local corpus = {
  NEIGHBOURS = BEFORE + BEHIND,
  ATTEMPTS = 2,
}

-- Reading.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local function header_of(text)
  local header, name = {}, nil
  for line in text:gmatch("([^\n]*)\n") do
    local words = line:match("^%-%-%s*(.-)%s*$")
    if not words then break end
    local key, value = words:match("^(%u%l+): (.*)$")
    if key then
      name = key:lower()
      header[name] = value
    elseif name then
      header[name] = header[name] .. " " .. words
    end
  end
  return header
end

local function read_script(category, name)
  local text = read(("%s/%s/%s.lua"):format(FOLDER, category, name))
  local header = header_of(text)
  local place = ("spec/sandbox/%s/%s.lua"):format(category, name)
  assert(header.tries and header.expect, place .. " does not say at its top what it tries and what to expect")
  local limits = {}
  for key, value in (header.limits or ""):gmatch("(%S+)=(%S+)") do
    limits[key] = value
  end
  return { name = name, text = text, tries = header.tries, expect = header.expect, limits = limits }
end

---@param category string a folder of spec/sandbox
---@return table[] scripts by name: { name, text, tries, expect, limits }
function corpus.scripts(category)
  local scripts = {}
  for entry in dirent.files(FOLDER .. "/" .. category) do
    local name = entry:match("^([%w_]+)%.lua$")
    scripts[#scripts + 1] = name and read_script(category, name)
  end
  table.sort(scripts, function(a, b) return a.name < b.name end)
  return scripts
end

-- Running.

-- What lies about a script that looks for a way out of its folder.
local function lay_traps(space)
  space:write("outside.lua", 'return "outside"')
  space:write("handlers/trap_bytecode.lua", string.dump(function() return "bytecode" end))
  space:write("handlers/trap_large.lua", (" "):rep(1024 * 1024 + 1))
  assert(unistd.link("../outside.lua", space.path .. "/handlers/trap_linked.lua", true))
  assert(unistd.link("..", space.path .. "/handlers/trap_folder", true))
end

local function write_scripts(scripts)
  local space = workspace.new()
  space:write("handlers/attack.lua", read(FOLDER .. "/attack.lua"))
  lay_traps(space)
  for _, script in ipairs(scripts) do
    space:write(("handlers/%s.lua"):format(script.name), script.text)
  end
  return space
end

local function limits_of(script, usual)
  local words = {}
  for _, key in ipairs { "memory", "deadline", "grace" } do
    words[#words + 1] = ("%s = %q"):format(key, script.limits[key] or usual[key])
  end
  return table.concat(words, ", ")
end

local function write_configuration(space, scripts, limits, dead)
  local consumers = {}
  for i, script in ipairs(scripts) do
    consumers[i] = ("    { queue = %q, handler = %q, limits = { %s }, dead_letter = %s },\n"):format(
      script.queue, ("handlers/%s.lua"):format(script.name), limits_of(script, limits),
      dead and ("%q"):format(dead))
  end
  space:write("moonrabbit.lua", ([[
return {
  broker = { url = %q, max_channels = 1000 },
  memory = { warning = "1TiB", critical = "1TiB" },
  consumers = {
%s  },
}
]]):format(rabbit.url, table.concat(consumers)))
end

---Makes a queue for each script, and a configuration with a consumer for each.
---@param scripts table[] they get the names of their queues
---@param limits table what each consumer has: memory, deadline, grace
---@param dead? string the queue for dead letters
---@return string path of the configuration
function corpus.lay_out(scripts, limits, dead)
  for _, script in ipairs(scripts) do
    script.queue = rabbit.queue("sandbox-" .. script.name)
  end
  local space = write_scripts(scripts)
  write_configuration(space, scripts, limits, dead)
  return space.path .. "/moonrabbit.lua"
end

---Puts a message into a script's queue.
---@param connection table
---@param script table
---@param id string|integer "attack", or a neighbour's number
function corpus.publish(connection, script, id)
  assert(connection:publish("", script.queue, ('{"id":%s}'):format(tonumber(id) or "null"),
    { content_type = "application/json", message_id = tostring(id) }))
end

local function fill(connection, scripts)
  assert(connection:confirm_select())
  for _, script in ipairs(scripts) do
    for id = 1, BEFORE do corpus.publish(connection, script, id) end
    corpus.publish(connection, script, "attack")
    for id = BEFORE + 1, BEFORE + BEHIND do corpus.publish(connection, script, id) end
  end
end

-- What came of it.

local OUTCOMES = {
  ["the handler failed"] = "failed",
  ["the handler ran out of memory"] = "out of memory",
  ["the handler ran out of time"] = "out of time",
  ["its worker died"] = "died",
  ["rejected by the handler"] = "rejected",
  ["asked for one more try"] = "asked too often",
}

local function outcome_of(msg)
  for words, outcome in pairs(OUTCOMES) do
    if msg:find(words, 1, true) then
      return outcome
    end
  end
end

local KILLED = "ran past limits.deadline and limits.grace"

-- What a line of the log tells of a script: `ends` of its attack, of neighbours, `complaints` about those,
-- `deaths` of its worker that were not the host's doing.
local function note_line(result, line)
  local outcome = line.id == "attack" and line.queue and outcome_of(line.msg)
  if outcome then
    result.ends[#result.ends + 1] = { outcome = outcome, reason = line.reason or "", attempt = line.attempt }
  elseif line.queue and line.id and outcome_of(line.msg) then
    result.complaints[#result.complaints + 1] = ("%s: %s"):format(line.id, line.msg)
  elseif line.msg == "handled" then
    result.handled[#result.handled + 1] = ("%s at attempt %d"):format(line.id, line.attempt)
    result.redelivered = result.redelivered or line.redelivered
  elseif line.msg:find("a worker died", 1, true) then
    local why = ("%s %s"):format(line.reason, line.words or "")
    result.deaths[#result.deaths + 1] = not why:find(KILLED, 1, true) and why or nil
  elseif line.msg == "consumer stopped" then
    result.counts = line
  end
end

-- AddressSanitizer's own remark on an error that unwinds a large stack; its reports are support.cleanup's.
local ASAN_REMARKS = { "WARNING: ASan is ignoring requested", "^False positive error reports",
  "^For details see https://github.com/google/sanitizers" }

local function is_remark(text)
  for _, remark in ipairs(ASAN_REMARKS) do
    if text:find(remark) then
      return true
    end
  end
end

local function read_log(program, results)
  local raw = {}
  for _, line in ipairs(program:log_lines()) do
    local result = results[line.consumer or line.queue]
    if line.raw and not is_remark(line.raw) then
      raw[#raw + 1] = line.raw
    elseif result then
      note_line(result, line)
    end
  end
  return raw
end

local function dead_letters(connection, dead, results)
  for _, message in ipairs(assert(connection:drain(dead))) do
    local result = results[message.properties.headers["moonrabbit-queue"]]
    result.dead[#result.dead + 1] = message.properties.message_id
  end
end

---Runs the scripts of a category but those that must not load. Everything that was made is there until
---support.cleanup.
---@param category string
---@param limits table what each consumer has: memory, deadline, grace
---@return table<string, table> results by script: the attack's `ends`, each { outcome, reason, attempt },
---the neighbours `handled`, `redelivered`, `complaints` about them, `deaths` of its worker that the host did
---not ask for, `counts` at its end, what is `left` in its queue, ids of the `dead` letters
---@return string[] raw what is in the log and no line of it
function corpus.run(category, limits)
  local scripts = {}
  for _, script in ipairs(corpus.scripts(category)) do
    scripts[#scripts + 1] = not script.expect:find("^not loaded") and script or nil
  end
  local connection, dead = assert(rabbit.connect()), rabbit.name "sandbox-dead"
  local configuration = corpus.lay_out(scripts, limits, dead)
  fill(connection, scripts)
  local program = moonrabbit.start("run", "-c", configuration, "--exit-when-idle=1s",
    "--retry-delay=10ms", "--retry-attempts=" .. corpus.ATTEMPTS)
  local code, why = program:wait(PATIENCE_SECONDS)
  assert(code == 0, ("the program ended with %s: %s"):format(code or why, program:stderr():sub(-3000)))
  local by_queue, by_name = {}, {}
  for _, script in ipairs(scripts) do
    local result = { ends = {}, handled = {}, complaints = {}, deaths = {}, dead = {} }
    result.left = assert(rabbit.queue_info(script.queue)).messages
    by_queue[script.queue], by_name[script.name] = result, result
  end
  local raw = read_log(program, by_queue)
  dead_letters(connection, dead, by_queue)
  return by_name, raw
end

---@return boolean whether LuaJIT's hook ends compiled loops
function corpus.ends_compiled_loops()
  return not moonrabbit.run("version").out:find("no hook ends compiled loops", 1, true)
end

---Lets `moonrabbit check` load a script that must not load.
---@param script table
---@return table result of moonrabbit.run
function corpus.check(script)
  local space = write_scripts { script }
  local flags = {}
  for key, value in pairs(script.limits) do
    flags[#flags + 1] = ("--limits-%s=%s"):format(key, value)
  end
  flags[#flags + 1] = { timeout = PATIENCE_SECONDS }
  return moonrabbit.run("check", ("%s/handlers/%s.lua"):format(space.path, script.name), "--queue=x",
    unpack(flags))
end

return corpus
