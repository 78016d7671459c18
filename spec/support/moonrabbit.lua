-- The program under test: $MOONRABBIT, or build/moonrabbit. Runs and starts it, and reads its log, which is
-- JSON where standard error is no terminal. What a sanitizer says of it, even of a worker that was replaced
-- since, fails the spec: cleanup, for after_each, looks.
local cjson = require "cjson.safe"
local stdlib = require "posix.stdlib"
local process = require "support.process"
local root = require "support.root"

-- Programs of many specs run at once, and have no default port to share: who wants a listener says so.
stdlib.setenv("MOONRABBIT_STATUS_LISTEN", "off")
-- Specs count lines of handlers.
stdlib.setenv("MOONRABBIT_LOG_HANDLER_LINES", "1000000")

local LOG_SHOWN_BYTES = 2000 -- of a log, in a message about what it lacks

local moonrabbit = {
  path = os.getenv("MOONRABBIT") or root .. "/build/moonrabbit",
}

local ran = {} -- what to look for sanitizer reports in

local function command(...)
  local path = stdlib.realpath(moonrabbit.path)
  if not path then
    error(moonrabbit.path .. " is not there: build it by 'make', or name the program in MOONRABBIT", 0)
  end
  local argv, options = { path, ... }, nil
  if type(argv[#argv]) == "table" then
    options = table.remove(argv)
  end
  return argv, options
end

local function parse(line)
  return cjson.decode(line) or { raw = line }
end

-- A running program.

local Program = setmetatable({}, { __index = process.Process })
Program.__index = Program

---@return table[] its log lines so far; a line that is no JSON is { raw = line }
function Program:log_lines()
  local lines = self:stderr_lines()
  for i = #self.logged + 1, #lines do
    self.logged[i] = parse(lines[i])
  end
  return self.logged
end

local function matches(line, wanted)
  for key, value in pairs(wanted) do
    local given = line[key]
    local same = given == value
    if type(value) == "function" then
      same = given ~= nil and value(given)
    elseif key == "msg" and type(given) == "string" then
      same = given:find(value, 1, true) ~= nil
    end
    if not same then
      return false
    end
  end
  return true
end

---Waits for a log line, there already or yet to come. `msg` is a part of the text; other values are equal,
---or functions that say whether they like what is there.
---@param wanted table
---@param options? { after?: integer, timeout?: number } after: only lines with a higher number; seconds
---@return table|nil line, integer|string number of the line, or why it did not come
function Program:wait_log(wanted, options)
  local at = options and options.after or 0
  local line, reason = self:wait_until(function()
    local lines = self:log_lines()
    while at < #lines do
      at = at + 1
      if matches(lines[at], wanted) then
        return lines[at]
      end
    end
  end, options and options.timeout)
  if line then
    return line, at
  end
  local log = self:stderr():sub(-LOG_SHOWN_BYTES)
  return nil, ("%s: no such log line; the log ends: %s"):format(reason, log)
end

---Starts the program: its arguments, and perhaps a table of options as process.start takes them.
---@vararg string|table
---@return table program a process with log_lines and wait_log
function moonrabbit.start(...)
  local program = process.start(command(...))
  program.logged = {}
  ran[#ran + 1] = program
  return setmetatable(program, Program)
end

---Runs the program to its end: arguments and options as process.run takes them.
---@vararg string|table
---@return table result of process.run, and logs: the log lines
function moonrabbit.run(...)
  local result = process.run(command(...))
  result.logs = {}
  for line in result.err:gmatch("[^\n]+") do
    result.logs[#result.logs + 1] = parse(line)
  end
  ran[#ran + 1] = { stderr = function() return result.err end }
  return result
end

local function sanitizer_report(text)
  local at = text:find("==%d+==ERROR: %a+Sanitizer") or text:find("runtime error: ", 1, true)
  return at and text:sub(at, at + 4000)
end

---Ends what still runs; raises an error with the report of a sanitizer, if there is one.
function moonrabbit.cleanup()
  process.kill_all()
  local programs = ran
  ran = {}
  for _, program in ipairs(programs) do
    local report = sanitizer_report(program:stderr())
    if report then
      error("a sanitizer complained:\n" .. report, 0)
    end
  end
end

return moonrabbit
