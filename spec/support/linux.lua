-- What Linux offers and lua-posix does not: descriptors that tell of a process's end and of a file's growth,
-- what a child used when it has ended, a child that dies with its parent, and one to which the kernel
-- refuses what an older one would. The invariant: waiting is done in poll(2), never by looking again
-- and again. support.process is built on it.
local ffi = require "ffi"
local poll = require "posix.poll"
local time = require "posix.time"

ffi.cdef [[
  long syscall(long number, ...);
  int inotify_init1(int flags);
  int inotify_add_watch(int fd, const char *path, uint32_t mask);
  int prctl(int option, ...);
  struct moonrabbit_rlimit { unsigned long soft, hard; };
  int prlimit(int pid, int resource, const struct moonrabbit_rlimit *set, struct moonrabbit_rlimit *get);
  long read(int fd, void *buffer, size_t size);
  long readlink(const char *path, char *buffer, size_t size);
  char *strerror(int error);

  struct moonrabbit_rusage {
    long user_seconds, user_microseconds, system_seconds, system_microseconds, peak_kib, others[13];
  };
  struct moonrabbit_bpf { uint16_t code; uint8_t jump, jump_not; uint32_t value; };
  struct moonrabbit_bpf_program { unsigned short length; struct moonrabbit_bpf *steps; };
  int wait4(int pid, int *status, int options, struct moonrabbit_rusage *usage);
]]

local SYS_PIDFD_OPEN = 434 -- the same on every architecture
local IN_NONBLOCK_CLOEXEC = 0x80800
local IN_MODIFY = 0x2
local PR_SET_PDEATHSIG = 1
local WNOHANG = 1
local RLIMIT_FSIZE = 1
local PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
local SECCOMP_MODE_FILTER = 2
local SYS_PRCTL = jit.arch == "x64" and 157 or 167
local SYS_SECCOMP = jit.arch == "x64" and 317 or 277
local SYS_FCNTL = jit.arch == "x64" and 72 or 25
local F_ADD_SEALS, F_SEAL_FUTURE_WRITE = 1033, 0x10
local EACCES, EINVAL = 13, 22

local linux = {}

local function checked(what, result)
  result = tonumber(result)
  if result < 0 then
    error(("%s failed: %s"):format(what, ffi.string(ffi.C.strerror(ffi.errno()))))
  end
  return result
end

---Seconds of the monotonic clock.
---@return number
function linux.now()
  local clock = time.clock_gettime(time.CLOCK_MONOTONIC)
  return clock.tv_sec + clock.tv_nsec / 1e9
end

---@param seconds number
function linux.sleep(seconds)
  local whole = math.floor(seconds)
  time.nanosleep({ tv_sec = whole, tv_nsec = math.floor((seconds - whole) * 1e9) })
end

---A descriptor that becomes readable when the process ends. The caller closes it.
---@param pid integer
---@return integer fd
function linux.open_process(pid)
  return checked("pidfd_open", ffi.C.syscall(SYS_PIDFD_OPEN, ffi.cast("int", pid), ffi.cast("int", 0)))
end

---A descriptor that becomes readable when something is written to one of the files. The caller closes it.
---@param paths string[]
---@return integer fd
function linux.watch_files(paths)
  local fd = checked("inotify_init1", ffi.C.inotify_init1(IN_NONBLOCK_CLOEXEC))
  for _, path in ipairs(paths) do
    checked("inotify_add_watch", ffi.C.inotify_add_watch(fd, path, IN_MODIFY))
  end
  return fd
end

local status_word = ffi.new("int[1]")
local rusage = ffi.new("struct moonrabbit_rusage")

local function usage_of(used)
  return {
    cpu_seconds = tonumber(used.user_seconds + used.system_seconds) +
      tonumber(used.user_microseconds + used.system_microseconds) / 1e6,
    peak_rss = tonumber(used.peak_kib) * 1024,
  }
end

---Takes note of a child's end. What it used is its own and that of its children that it waited for: their
---processor time together, and the most memory that any one of them had in use at once.
---@param pid integer
---@param options { wait: boolean } false: only where it has ended already
---@return { code: integer?, signal: integer?, usage: { cpu_seconds: number, peak_rss: integer } }|nil ended
function linux.reap(pid, options)
  local found = checked("wait4", ffi.C.wait4(pid, status_word, options.wait and 0 or WNOHANG, rusage))
  if found ~= pid then
    return nil
  end
  local status = status_word[0]
  local signal = bit.band(status, 0x7f)
  return {
    code = signal == 0 and bit.band(bit.rshift(status, 8), 0xff) or nil,
    signal = signal ~= 0 and signal or nil,
    usage = usage_of(rusage),
  }
end

local scrap = ffi.new("char[4096]")

---Forgets the writes told so far. Look at the files after it, so that none goes unseen.
---@param fd integer of watch_files
function linux.clear_watch(fd)
  while ffi.C.read(fd, scrap, ffi.sizeof(scrap)) > 0 do end -- luacheck: ignore 542
end

---Waits until one of the descriptors is readable, or the clock says `deadline`.
---@param fds integer[]
---@param deadline number
function linux.wait_readable(fds, deadline)
  local set = {}
  for _, fd in ipairs(fds) do
    set[fd] = { events = { IN = true } }
  end
  poll.poll(set, math.max(0, math.ceil((deadline - linux.now()) * 1000)))
end

---Where a link points; lua-posix cannot read those of /proc, which are shorter than they say.
---@param path string
---@return string|nil target
function linux.read_link(path)
  local size = tonumber(ffi.C.readlink(path, scrap, ffi.sizeof(scrap)))
  return size >= 0 and ffi.string(scrap, size) or nil
end

---In a child: the kernel sends it this signal when its parent ends, however that ends.
---@param signal integer
function linux.die_with_parent(signal)
  checked("prctl", ffi.C.prctl(PR_SET_PDEATHSIG, ffi.cast("unsigned long", signal)))
end

local file_limit = ffi.new("struct moonrabbit_rlimit")

---How long files of another process may become, from now on: what it writes beyond fails, as on a full disk.
---@param pid integer
---@param bytes? integer as long as they could, if not given
function linux.limit_files(pid, bytes)
  checked("prlimit", ffi.C.prlimit(pid, RLIMIT_FSIZE, nil, file_limit))
  file_limit.soft = bytes or file_limit.hard
  checked("prlimit", ffi.C.prlimit(pid, RLIMIT_FSIZE, file_limit, nil))
end

-- Of a filter for the kernel: load a word of what is known of the call, compare it, answer.
local LOAD, JUMP_IF_EQUAL, JUMP_IF_ANY, ANSWER = 0x20, 0x15, 0x45, 0x06
local CALL_OFFSET, ARGUMENT_OFFSET, ARGUMENT_BYTES = 0, 16, 8
local ALLOWED, FAILS = 0x7fff0000, 0x00050000

local function filter(list)
  local steps = ffi.new("struct moonrabbit_bpf[?]", #list, list)
  local program = ffi.new("struct moonrabbit_bpf_program", #list, steps)
  local none, mode = ffi.cast("long", 0), ffi.cast("long", SECCOMP_MODE_FILTER)
  checked("prctl", ffi.C.prctl(PR_SET_NO_NEW_PRIVS, ffi.cast("long", 1), none, none, none))
  checked("prctl", ffi.C.prctl(PR_SET_SECCOMP, mode, program))
end

---In a child: from now on the kernel refuses it, and all that it starts, filters of system calls, as where a
---container forbids them.
function linux.refuse_seccomp()
  filter {
    { LOAD, 0, 0, CALL_OFFSET },
    { JUMP_IF_EQUAL, 3, 0, SYS_SECCOMP },
    { JUMP_IF_EQUAL, 0, 3, SYS_PRCTL },
    { LOAD, 0, 0, ARGUMENT_OFFSET },
    { JUMP_IF_EQUAL, 0, 1, PR_SET_SECCOMP },
    { ANSWER, 0, 0, FAILS + EACCES },
    { ANSWER, 0, 0, ALLOWED },
  }
end

---The same for memory that others may only read, as by kernels before 5.1.
function linux.refuse_read_only_memory()
  filter {
    { LOAD, 0, 0, CALL_OFFSET },
    { JUMP_IF_EQUAL, 0, 5, SYS_FCNTL },
    { LOAD, 0, 0, ARGUMENT_OFFSET + ARGUMENT_BYTES },
    { JUMP_IF_EQUAL, 0, 3, F_ADD_SEALS },
    { LOAD, 0, 0, ARGUMENT_OFFSET + 2 * ARGUMENT_BYTES },
    { JUMP_IF_ANY, 0, 1, F_SEAL_FUTURE_WRITE },
    { ANSWER, 0, 0, FAILS + EINVAL },
    { ANSWER, 0, 0, ALLOWED },
  }
end

return linux
