-- Child programs for specs: start one, wait for what it says or for its end, look at what it holds, end it.
--
-- Output goes to unlinked temporary files, not to pipes: a program that logs much while nobody reads is never
-- held up, and nothing can deadlock. Waiting is done in poll(2) on the end of the process and the growth of
-- its output. Every child leads a process group of its own and dies with the spec run; kill_all, after each
-- spec, ends what a spec left, with its whole group.
local dirent = require "posix.dirent"
local fcntl = require "posix.fcntl"
local posix_signal = require "posix.signal"
local resource = require "posix.sys.resource"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local linux = require "support.linux"

local TIMEOUT_SECONDS = 30
local NOT_EXECUTABLE = 127
local LOG_SHOWN_BYTES = 2000 -- of a log, in a message about what it lacks

local process = {}
local started = {} -- processes to be ended by kill_all

-- Streams: the file that a child writes to, and what was read of it so far.

local Stream = {}
Stream.__index = Stream

local function temporary_file()
  local fd, path = assert(stdlib.mkstemp((os.getenv("TMPDIR") or "/tmp") .. "/moonrabbit-spec.XXXXXX"))
  return fd, path
end

local function stream_new()
  local fd, path = temporary_file()
  local file = assert(io.open(path, "r"))
  return setmetatable({ fd = fd, path = path, file = file, chunks = {}, lines = {}, tail = "" }, Stream)
end

local function stream_take(stream, chunk)
  stream.chunks[#stream.chunks + 1] = chunk
  local text, from = stream.tail .. chunk, 1
  local newline = text:find("\n", 1, true)
  while newline do
    stream.lines[#stream.lines + 1] = text:sub(from, newline - 1)
    from = newline + 1
    newline = text:find("\n", from, true)
  end
  stream.tail = text:sub(from)
end

function Stream:read()
  if not self.file then
    return
  end
  self.file:seek("cur", 0) -- forgets that the end of the file was seen
  local chunk = self.file:read("*a")
  if chunk and chunk ~= "" then
    stream_take(self, chunk)
  end
end

function Stream:text()
  self:read()
  self.chunks = { table.concat(self.chunks) }
  return self.chunks[1]
end

function Stream:close()
  self:read()
  if self.file then
    self.file:close()
  end
  self.file = nil
end

-- Starting: what happens between fork and exec.

local function stdin_open(input)
  if not input then
    return assert(fcntl.open("/dev/null", fcntl.O_RDONLY))
  end
  local fd, path = temporary_file()
  local file = assert(io.open(path, "w"))
  assert(file:write(input))
  file:close()
  unistd.unlink(path)
  return fd
end

local function close_others()
  for _, name in ipairs(dirent.dir("/proc/self/fd")) do
    local fd = tonumber(name)
    if fd and fd > 2 then
      unistd.close(fd)
    end
  end
end

local function signals_reset()
  for _, name in ipairs { "HUP", "INT", "QUIT", "PIPE", "TERM", "CHLD", "USR1", "USR2" } do
    posix_signal.signal(posix_signal["SIG" .. name], posix_signal.SIG_DFL)
  end
end

-- Only returns when the program cannot be run: with the reason.
local function become(argv, options, parent, stdin, stdout, stderr)
  unistd.dup2(stdin, 0)
  unistd.dup2(stdout, 1)
  unistd.dup2(stderr, 2)
  close_others()
  unistd.setpid("p", 0, 0)
  signals_reset()
  linux.die_with_parent(posix_signal.SIGKILL)
  if unistd.getppid() ~= parent then
    return "the spec that started it is gone"
  end
  if options.refuse_seccomp then
    linux.refuse_seccomp()
  end
  if options.refuse_read_only_memory then
    linux.refuse_read_only_memory()
  end
  if options.cwd then
    assert(unistd.chdir(options.cwd))
  end
  if options.descriptors then
    local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert(resource.setrlimit(resource.RLIMIT_NOFILE,
      { rlim_cur = options.descriptors, rlim_max = limit.rlim_max }))
  end
  for name, value in pairs(options.env or {}) do
    stdlib.setenv(name, value or nil)
  end
  local _, reason = unistd.execp(argv[1], { unpack(argv, 2) })
  return reason
end

local function child(...)
  local _, reason = pcall(become, ...)
  local argv = ...
  unistd.write(2, ("cannot run %s: %s\n"):format(argv[1], tostring(reason)))
  unistd._exit(NOT_EXECUTABLE)
end

-- A process.

local Process = {}
Process.__index = Process
process.Process = Process -- for support.moonrabbit to build on

---Starts a program, found by PATH when its name has no slash.
---@param argv string[] the program and its arguments
---@param options? { env?: table<string, string|false>, cwd?: string, stdin?: string,
---  refuse_seccomp?: boolean, refuse_read_only_memory?: boolean, descriptors?: integer } env: false unsets;
---  descriptors: its soft limit
---@return table process
function process.start(argv, options)
  options = options or {}
  local stdin, out, err = stdin_open(options.stdin), stream_new(), stream_new()
  local parent = unistd.getpid()
  io.stdout:flush()
  io.stderr:flush()
  local pid = assert(unistd.fork())
  if pid == 0 then
    child(argv, options, parent, stdin, out.fd, err.fd)
  end
  unistd.setpid("p", pid, pid) -- in both, so that it is done whoever runs first
  local self = setmetatable({ pid = pid, argv = argv, out = out, err = err }, Process)
  self.end_fd = linux.open_process(pid)
  self.growth_fd = linux.watch_files { out.path, err.path }
  for _, fd in ipairs { stdin, out.fd, err.fd } do
    unistd.close(fd)
  end
  unistd.unlink(out.path)
  unistd.unlink(err.path)
  started[self] = true
  return self
end

-- Takes note of the end, if it has come.
local function reap(self, options)
  local ended = not self.ended and linux.reap(self.pid, options)
  if not ended then
    return
  end
  self.ended = true
  self.code, self.signal, self.usage = ended.code, ended.signal, ended.usage
  unistd.close(self.end_fd)
  unistd.close(self.growth_fd)
end

---Waits until condition() is true, asking again whenever the program wrote something or ended.
---@param condition function
---@param timeout? number seconds
---@return any value that condition returned, or nil and "ended" or "timeout"
function Process:wait_until(condition, timeout)
  local deadline = linux.now() + (timeout or TIMEOUT_SECONDS)
  while true do
    reap(self, { wait = false })
    if not self.ended then
      linux.clear_watch(self.growth_fd)
    end
    local value = condition()
    if value then
      return value
    elseif self.ended then
      return nil, "ended"
    elseif linux.now() >= deadline then
      return nil, "timeout"
    end
    linux.wait_readable({ self.end_fd, self.growth_fd }, deadline)
  end
end

---Waits for its end; what it and its children used is in `usage` then (see linux.reap).
---@param timeout? number seconds
---@return integer|nil code, or nil and "timeout" or "signal N"
function Process:wait(timeout)
  local ended, reason = self:wait_until(function() return self.ended end, timeout)
  if not ended then
    return nil, reason
  end
  return self.code, self.signal and "signal " .. self.signal
end

-- The first line from number `from` on that matches, or an unfinished last one; and where to search on.
local function search(stream, from, pattern)
  stream:read()
  for i = from, #stream.lines do
    if stream.lines[i]:find(pattern) then
      return stream.lines[i], #stream.lines + 1
    end
  end
  local unfinished = stream.tail ~= "" and stream.tail:find(pattern) and stream.tail
  return unfinished, #stream.lines + 1
end

---Waits for a line, already there or yet to come, on standard error or standard output.
---@param pattern string Lua pattern
---@param timeout? number seconds
---@return string|nil line, or nil and why it did not come
function Process:wait_for(pattern, timeout)
  local next_err, next_out = 1, 1
  local line, reason = self:wait_until(function()
    local found
    found, next_err = search(self.err, next_err, pattern)
    if not found then
      found, next_out = search(self.out, next_out, pattern)
    end
    return found
  end, timeout)
  if line then
    return line
  end
  local log = self:stderr():sub(-LOG_SHOWN_BYTES)
  return nil, ("%s: no line matched '%s'; standard error ends: %s"):format(reason, pattern, log)
end

---@return string what it wrote so far
function Process:stderr()
  return self.err:text()
end

---@return string what it wrote so far
function Process:stdout()
  return self.out:text()
end

---@return string[] the finished lines so far; the table stays the same and grows
function Process:stderr_lines()
  self.err:read()
  return self.err.lines
end

---@return boolean
function Process:running()
  reap(self, { wait = false })
  return not self.ended
end

---@param signal? string|integer "TERM" (the default), "KILL", "HUP", ... or a number
---@return boolean|nil sent, or nil and a reason
function Process:kill(signal)
  if not self:running() then
    return nil, "ended"
  end
  if type(signal) ~= "number" then
    local name = signal or "TERM"
    signal = assert(posix_signal["SIG" .. name], "there is no signal " .. name)
  end
  local sent, reason = posix_signal.kill(self.pid, signal)
  return sent and true, reason
end

---@return integer[] pids of its living children
function Process:children()
  return process.children(self.pid)
end

local function finish(self)
  posix_signal.killpg(self.pid, posix_signal.SIGKILL) -- the group may outlive its leader
  reap(self, { wait = true })
  self.out:close()
  self.err:close()
  started[self] = nil
end

---Ends every process that is left, with its group. For after_each; output stays readable.
function process.kill_all()
  for self in pairs(started) do
    finish(self)
  end
end

---Runs a program to its end; one that takes longer than `timeout` is killed, and so says `timed_out`.
---@param argv string[]
---@param options? { env?: table, cwd?: string, stdin?: string, timeout?: number }
---@return { code: integer?, signal: integer?, out: string, err: string, timed_out: boolean, usage: table }
function process.run(argv, options)
  local self = process.start(argv, options)
  local _, reason = self:wait(options and options.timeout or 2 * TIMEOUT_SECONDS)
  finish(self)
  return {
    code = self.code,
    signal = self.signal,
    out = self:stdout(),
    err = self:stderr(),
    timed_out = reason == "timeout",
    usage = self.usage,
  }
end

-- What /proc says of any process. Of one that is gone: nil.

local function read_file(path)
  local file = io.open(path, "r")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

---@param pid integer
---@return { state: string, parent: integer, group: integer }|nil
function process.stat(pid)
  local stat = read_file(("/proc/%d/stat"):format(pid))
  local state, parent, group = (stat or ""):match("^.*%) (%S) (%d+) (%d+)")
  return state and { state = state, parent = tonumber(parent), group = tonumber(group) } or nil
end

---A zombie, which has ended and was only not waited for, is not alive.
---@param pid integer
---@return boolean
function process.alive(pid)
  local stat = process.stat(pid)
  return stat ~= nil and stat.state ~= "Z" and stat.state ~= "X"
end

---@param pid integer
---@return integer[] pids of its living children, in order
function process.children(pid)
  local children = {}
  for _, name in ipairs(dirent.dir("/proc")) do
    local stat = tonumber(name) and process.stat(tonumber(name))
    if stat and stat.parent == pid and process.alive(tonumber(name)) then
      children[#children + 1] = tonumber(name)
    end
  end
  table.sort(children)
  return children
end

---@param pid integer
---@return integer|nil count, table<integer, string>|nil targets by descriptor
function process.fds(pid)
  local folder = ("/proc/%d/fd"):format(pid)
  local listed, names = pcall(dirent.dir, folder)
  if not listed then
    return nil
  end
  local count, targets = 0, {}
  for _, name in ipairs(names) do
    local target = tonumber(name) and linux.read_link(folder .. "/" .. name)
    if target then
      count = count + 1
      targets[tonumber(name)] = target
    end
  end
  return count, targets
end

---@param pid integer
---@param name string of a file there: "environ", "cmdline", "limits", ...
---@return string|nil text
function process.proc(pid, name)
  return read_file(("/proc/%d/%s"):format(pid, name))
end

---@param pid integer
---@param key string of a line in its status: "Threads", "Seccomp", ...
---@return integer|nil
function process.status(pid, key)
  return tonumber((process.proc(pid, "status") or ""):match("\n" .. key .. ":%s*(%d+)"))
end

local LARGEST_MAPPING = 256 * 1024 * 1024 -- what is larger is AddressSanitizer's shadow, of terabytes

---Looks through all memory of a process that can be read.
---@param pid integer
---@param texts string[] none longer than a page
---@return table<string, boolean> found by text
function process.find_in_memory(pid, texts)
  local found, memory = {}, assert(io.open(("/proc/%d/mem"):format(pid), "rb"))
  for from, to in process.proc(pid, "maps"):gmatch("(%x+)%-(%x+) r") do
    from, to = tonumber(from, 16), tonumber(to, 16)
    local content = to - from <= LARGEST_MAPPING and memory:seek("set", from) and memory:read(to - from)
    for _, text in ipairs(content and texts or {}) do
      found[text] = found[text] or content:find(text, 1, true) ~= nil or nil
    end
  end
  memory:close()
  return found
end

---@param pid integer
---@return integer|nil number of threads
function process.threads(pid)
  return process.status(pid, "Threads")
end

---@param pid integer
---@return integer|nil bytes of memory in use
function process.rss(pid)
  local kilobytes = process.status(pid, "VmRSS")
  return kilobytes and kilobytes * 1024
end

---@param pid integer
---@return integer|nil bytes of memory in use when it was most
function process.peak_rss(pid)
  local kilobytes = process.status(pid, "VmHWM")
  return kilobytes and kilobytes * 1024
end

return process
