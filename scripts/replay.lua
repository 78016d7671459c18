-- `moonrabbit replay`: a file of messages, one JSON object a line, through a handler in the sandbox of
-- production. The file is streamed: what is kept of it is a line at a time, and counts.
local cjson = require "cjson.safe"
local host = require "moonrabbit.host"
local messages = require "moonrabbit.message"
local new_report = require "moonrabbit.replay_report"

local CHUNK_BYTES = 64 * 1024
local PROGRESS_SECONDS = 0.2
-- A body's bytes take six of JSON at the worst (\u0000), and the rest of a message its properties.
local LINE_BYTES_PER_BODY_BYTE, LINE_BYTES_BESIDES = 6, 1024 * 1024

local FAILS_ON = { error = true, reject = true, retry = true, leak = true }

local DONE, FAILED, USAGE = 0, 1, 2

local function complain(format, ...)
  io.stderr:write("moonrabbit: ", format:format(...), "\n")
end

-- Lines.

-- An iterator over the lines of a file: text, or nil and true for one that is longer than `most`.
local function lines_of(file, most)
  local rest, at, ended, cut = "", 1, false, false
  local parts, size = {}, 0
  local function add(text)
    size = size + #text
    if size > most then parts, cut = {}, true else parts[#parts + 1] = text end
  end
  local function take()
    local line, was_cut = table.concat(parts), cut
    parts, size, cut = {}, 0, false
    return (line:gsub("\r$", "")), was_cut
  end
  return function()
    while not ended do
      local stop = rest:find("\n", at, true)
      if stop then
        add(rest:sub(at, stop - 1))
        at = stop + 1
        return take()
      end
      add(rest:sub(at))
      local chunk, reason = file:read(CHUNK_BYTES)
      if reason then error(reason, 0) end
      rest, at, ended = chunk or "", 1, chunk == nil
    end
    if size > 0 then return take() end
    return nil
  end
end

-- A line as a message, or nil and what is wrong with it.
local function parse(line, bare)
  if bare then return { body = line, content_type = "application/json" } end
  local message, reason = cjson.decode(line)
  if reason then return nil, "it is not JSON: " .. reason end
  if type(message) ~= "table" or message[1] ~= nil then
    return nil, "it is no JSON object: write { \"body\": ... }, or give --bare"
  end
  return message
end

-- Progress.

local function new_progress(shown)
  local next_at = host.now()
  local progress = {}
  function progress.tell(report)
    if not shown or host.now() < next_at then return end
    next_at = host.now() + PROGRESS_SECONDS
    io.stderr:write("\r\27[K", report:progress())
  end
  function progress.clear()
    if shown then io.stderr:write("\r\27[K") end
  end
  return progress
end

-- The run.

local function open_trial(options)
  local flags = options.flags
  if not options.file then
    local has_queue = false
    for _, flag in ipairs(flags) do has_queue = has_queue or flag[1] == "queue" end
    if not has_queue then flags[#flags + 1] = { "queue", "replay" } end
  end
  return host.open { handler = options.handler, file = options.file, flags = flags, environment = true }
end

local function open_input(name)
  if name == "-" then return io.stdin end
  local file, reason = io.open(name, "rb")
  if not file then return nil, reason end
  local _, problem, code = file:read(0)
  if problem and code then return nil, ("%s: %s"):format(name, problem) end
  return file
end

-- One message; or nil and what is wrong with the line that it stands on.
local function deliver(trial, line, bare)
  local given, reason = parse(line, bare)
  if not given then return nil, reason end
  local ok, message = pcall(messages.complete, given)
  if not ok then return nil, message end
  local sound, problem = pcall(trial.check, trial, message)
  if not sound then return nil, problem end
  return messages.explain(trial:deliver(message))
end

local function replay(trial, input, options, report)
  local limits = trial:limits()
  local most = limits.message * LINE_BYTES_PER_BODY_BYTE + LINE_BYTES_BESIDES
  local progress = new_progress(host.is_terminal())
  local number = 0
  report:begin(trial:recycle())
  for line, cut in lines_of(input, most) do
    number = number + 1
    if cut then
      report:skip(number, ("it is longer than %s"):format(host.format_size(most)))
    elseif line:find("%S") then
      local outcome, reason = deliver(trial, line, options.bare)
      if outcome then report:add(number, outcome) else report:skip(number, reason) end
      progress.clear()
      trial:write_logs()
    end
    progress.tell(report)
    if limits.max_messages > 0 and report.messages >= limits.max_messages then break end
  end
  progress.clear()
  report:add_leaks(trial:leaks())
  report:finish(trial:recycle(), trial:counts())
  trial:stop()
  trial:write_logs()
end

-- The words of --fail-on as a list, or nil and the one that is none.
local function read_fail_on(text)
  local words = {}
  for word in (text or ""):gmatch("[^,]+") do
    if not FAILS_ON[word] then return nil, word end
    words[#words + 1] = word
  end
  return words
end

return function(options)
  local fail_on, stranger = read_fail_on(options.fail_on)
  if not fail_on then
    complain("--fail-on %s: give error, reject, retry or leak, or several with commas between", stranger)
    return USAGE
  end
  local input, reason = open_input(options.input)
  if not input then
    complain("%s", reason)
    return USAGE
  end
  local trial, problems = open_trial(options)
  if not trial then
    for problem in problems:gmatch("[^\n]+") do complain("%s", problem) end
    return USAGE
  end
  local report = new_report()
  local ok, problem = pcall(replay, trial, input, options, report)
  trial:write_logs()
  if not ok then
    complain("%s", problem)
    return FAILED
  end
  local seen = report:seen(fail_on)
  io.stdout:write(options.json and report:as_json(seen) or report:as_text())
  if not io.stdout:flush() then
    complain("standard output does not take what is written to it")
    return FAILED
  end
  if #seen > 0 then complain("--fail-on saw %s", table.concat(seen, ", ")) end
  return #seen > 0 and FAILED or DONE
end
