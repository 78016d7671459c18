-- What this machine tells of itself and of the moonrabbit processes on it, from /proc and the control group,
-- as facts for the doctor's rules. What may not be read is nil.

local LINES_MAX = 200

-- Files of /proc say at once what they have to say.
local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read(64 * 1024)
  if file then file:close() end
  return text
end

local function number_in(text, pattern)
  return tonumber((text or ""):match(pattern))
end

-- The machine.

local function kibibytes(meminfo, name)
  local number = number_in(meminfo, "%f[%w]" .. name .. ":%s+(%d+) kB")
  return number and number * 1024
end

-- The tightest bound that a control group, of version 2 or 1, sets to this process.
local function group_limit()
  local path = (read "/proc/self/cgroup" or ""):match("0::(/[^\n]*)") or "/"
  local least
  for _ = 1, LINES_MAX do
    local limit = tonumber((read("/sys/fs/cgroup" .. path .. "/memory.max") or ""):match("%d+"))
    if limit and (not least or limit < least) then least = limit end
    if path == "/" or path == "" then break end
    path = path:match("^(.*)/[^/]*$")
  end
  return least or number_in(read "/sys/fs/cgroup/memory/memory.limit_in_bytes", "^(%d+)")
end

-- TCP sockets in use or not yet over, and how many ports there are for connections that leave this machine.
local function sockets_and_ports()
  local stat = read "/proc/net/sockstat"
  local used, waiting = number_in(stat, "TCP: inuse (%d+)"), number_in(stat, "TCP:[^\n]* tw (%d+)")
  local first, last = (read "/proc/sys/net/ipv4/ip_local_port_range" or ""):match("^(%d+)%s+(%d+)")
  return used and used + (waiting or 0), first and last - first + 1
end

local function machine()
  local meminfo, files = read "/proc/meminfo", read "/proc/sys/fs/file-nr"
  local sockets, ports = sockets_and_ports()
  local total, limit = kibibytes(meminfo, "MemTotal"), group_limit()
  return {
    memory_total = limit and total and math.min(limit, total) or total,
    memory_free = kibibytes(meminfo, "MemAvailable"),
    memory_of_machine = total,
    descriptors = number_in(files, "^(%d+)"),
    descriptors_max = number_in(files, "(%d+)%s*$"),
    sockets = sockets,
    ports = ports,
  }
end

-- Processes.

-- "host" or "worker", by what it was started as; nil for others.
local function role_of(pid)
  if not (read(("/proc/%s/comm"):format(pid)) or ""):find("^moonrabbit\n") then return nil end
  local command = (read(("/proc/%s/cmdline"):format(pid)) or ""):match("^[^%z]*%z([^%z]*)")
  return command == "run" and "host" or command == "@worker" and "worker" or nil
end

-- Resident bytes that it shares with nobody, as the memory monitor of `run` counts.
local function own_bytes(world, pid)
  local resident, shared = (read(("/proc/%s/statm"):format(pid)) or ""):match("^%d+ (%d+) (%d+)")
  return resident and (resident - shared) * world.page_size()
end

local function descriptors(world, pid)
  local folder = ("/proc/%s/fd"):format(pid)
  local names, open, sockets = world.names(folder), 0, 0
  if not names then return nil end
  for _, name in ipairs(names) do
    if name:find("^%d") then
      open = open + 1
      if (world.target(folder .. "/" .. name) or ""):find("^socket:") then sockets = sockets + 1 end
    end
  end
  return open, sockets
end

local function look_at(world, pid, role)
  local process = { pid = tonumber(pid), role = role, bytes = own_bytes(world, pid) }
  process.parent = number_in(read(("/proc/%s/stat"):format(pid)), "%) %a (%d+)")
  process.descriptors, process.sockets = descriptors(world, pid)
  process.descriptors_max = number_in(read(("/proc/%s/limits"):format(pid)), "Max open files%s+(%d+)")
  return process
end

---@param world table functions in C
---@param tell { unseen: function } called with what could not be looked at, and why
---@return table facts
return function(world, tell)
  local facts = { machine = machine(), processes = {} }
  local names, reason = world.names "/proc"
  if not names then tell.unseen("processes of this machine", reason) end
  local closed = 0
  for _, name in ipairs(names or {}) do
    local role = name:find("^%d+$") and role_of(name)
    if role then
      local process = look_at(world, name, role)
      facts.processes[#facts.processes + 1] = process
      if not process.descriptors then closed = closed + 1 end
    end
  end
  if closed > 0 then
    tell.unseen(("descriptors of %d moonrabbit processes"):format(closed),
      "they belong to another user: run the doctor as that user, or as root")
  end
  return facts
end
