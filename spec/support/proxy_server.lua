-- A program between clients and a server that does to their connections what networks do: it passes, delays
-- and throttles bytes, cuts connections at once or in the middle of a frame, lets them be half-open (bytes
-- vanish, and neither side is told), and slips frames in. One process, poll(2), loopback only:
--
--     luajit spec/support/proxy_server.lua PORT
--
-- prints the port that clients take instead, and one for commands, a line each, which it answers with a line:
--
--     pass              undoes `delay` and `throttle`; what was held back goes on
--     delay MS          bytes come so much later, each way
--     throttle BYTES    so many in a second, each way
--     cut [BYTES]       resets every connection, after so many more bytes of it
--     hole up|down|both every connection loses, from now on, what goes to the server, to the client, or both;
--                       ends that are not told either. New connections pass.
--     inject HEX        bytes to the server on every connection, between two frames of AMQP
--     dying             answers how many connections that are to be cut, or half-open, a side still holds
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local time = require "posix.time"
local unistd = require "posix.unistd"

local CHUNK = 16384
local HELD_MAX = 256 * 1024 -- bytes each way of a connection that wait here; more wait with their sender
local SLICES_PER_SECOND = 20 -- in which a throttled connection goes
local GREETING_BYTES = 8 -- "AMQP", 0, 0, 9, 1
local FRAME_HEAD, FRAME_END = 7, 1

local TARGET = assert(tonumber((...)), "which port?")
local watched, ready = {}, {} -- by descriptor: what poll watches, and who is called
local links = {}
local delay_seconds, bytes_per_second = 0, nil

local function now()
  local clock = time.clock_gettime(time.CLOCK_MONOTONIC)
  return clock.tv_sec + clock.tv_nsec / 1e9
end

-- A plug is a socket: its descriptor until it is closed, whose number may then be another's.

local function plug_new(fd, callback)
  fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
  watched[fd], ready[fd] = { events = { IN = true } }, callback
  return { fd = fd }
end

local function unwatch(plug)
  watched[plug.fd], ready[plug.fd] = nil, nil
end

local function close(plug)
  if not plug.fd then return end
  unwatch(plug)
  unistd.close(plug.fd)
  plug.fd = nil
end

-- On a port below those that the kernel gives away. (lua-posix's getsockname does not always tell the port.)
local function listen(callback)
  local fd = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
  local address = { family = socket.AF_INET, addr = "127.0.0.1" }
  repeat
    address.port = math.random(20000, 32000)
  until socket.bind(fd, address)
  assert(socket.listen(fd, 128))
  plug_new(fd, function()
    local accepted = socket.accept(fd)
    if accepted then callback(accepted) end
  end)
  return address.port
end

-- A way is one direction of a link: bytes from one plug to the other.

local function way_new(from, to)
  return { from = from, to = to, held = {}, first = 1, last = 0, bytes = 0, due = 0 }
end

local function hold(way, chunk)
  if chunk == "" then return end
  way.due = math.max(way.due, now() + delay_seconds) + (bytes_per_second and #chunk / bytes_per_second or 0)
  way.last = way.last + 1
  way.held[way.last] = { due = way.due, text = chunk }
  way.bytes = way.bytes + #chunk
end

-- The number of bytes of the chunk up to the first place where a frame ends, 0 where the chunk begins at one;
-- nil where it has none. `left` is what is missing of the frame, nil while its head is incomplete.
local function boundary(way, chunk)
  local at, found = 0, way.left == 0 and 0 or nil
  while at < #chunk do
    if way.left == 0 then way.left, way.head = nil, "" end
    if not way.left then
      local piece = chunk:sub(at + 1, at + FRAME_HEAD - #way.head)
      way.head, at = way.head .. piece, at + #piece
      if #way.head == FRAME_HEAD then
        local a, b, c, d = way.head:byte(4, 7)
        way.left = ((a * 256 + b) * 256 + c) * 256 + d + FRAME_END
      end
    else
      local step = math.min(way.left, #chunk - at)
      at, way.left = at + step, way.left - step
      found = found or way.left == 0 and at or nil
    end
  end
  return found
end

-- Links.

local function drop(link)
  close(link.client)
  close(link.server)
  links[link] = nil
end

local function reset(link)
  for _, plug in ipairs { link.client, link.server } do
    if plug.fd then socket.setsockopt(plug.fd, socket.SOL_SOCKET, socket.SO_LINGER, 1, 0) end
  end
  drop(link)
end

local function send(link, way)
  while links[link] and way.first <= way.last and way.held[way.first].due <= now() do
    local chunk = way.held[way.first]
    local sent, _, code = socket.send(way.to.fd, chunk.text)
    if not sent then
      if code ~= 11 then drop(link) end -- EAGAIN: later
      return
    end
    chunk.text, way.bytes = chunk.text:sub(sent + 1), way.bytes - sent
    if chunk.text == "" then way.held[way.first], way.first = nil, way.first + 1 end
  end
  if links[link] and way.over and way.first > way.last then drop(link) end
end

local function make_hole(way)
  way.hole, way.held, way.first, way.last, way.bytes = true, {}, 1, 0, 0
end

-- Where the way is a hole its end is told to nobody either.
local function at_end(link, way)
  if not way.hole then
    way.over = true
    unwatch(way.from)
    send(link, way)
    return
  end
  close(way.from)
  make_hole(way == link.up and link.down or link.up)
  if not way.to.fd then links[link] = nil end
end

local function take(link, way, chunk)
  local found = way.frames and boundary(way, chunk)
  if found and way.slip then
    hold(way, chunk:sub(1, found) .. way.slip)
    chunk, way.slip = chunk:sub(found + 1), nil
  end
  if link.cut_after then
    chunk = chunk:sub(1, link.cut_after)
    link.cut_after = link.cut_after - #chunk
  end
  hold(way, chunk)
  send(link, way)
  if link.cut_after == 0 then reset(link) end
end

local function read(link, way)
  local size = bytes_per_second and math.ceil(bytes_per_second / SLICES_PER_SECOND) or CHUNK
  local chunk, _, code = socket.recv(way.from.fd, size)
  if not chunk and code == 11 then return end
  if not chunk or chunk == "" then
    at_end(link, way)
  elseif not way.hole then
    take(link, way, chunk)
  end
end

local function link_open(client)
  local server = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
  if not socket.connect(server, { family = socket.AF_INET, addr = "127.0.0.1", port = TARGET }) then
    unistd.close(server)
    unistd.close(client)
    return
  end
  for _, fd in ipairs { client, server } do
    socket.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  end
  local link = {}
  link.client = plug_new(client, function() read(link, link.up) end)
  link.server = plug_new(server, function() read(link, link.down) end)
  link.up, link.down = way_new(link.client, link.server), way_new(link.server, link.client)
  link.up.frames, link.up.left = true, GREETING_BYTES
  links[link] = true
end

-- Commands.

local commands = {}

local function each_way(act)
  for link in pairs(links) do
    for _, way in ipairs { link.up, link.down } do act(way, link) end
  end
end

function commands.pass()
  delay_seconds, bytes_per_second = 0, nil
  each_way(function(way)
    way.due = 0
    for i = way.first, way.last do way.held[i].due = 0 end
  end)
end

function commands.delay(ms) delay_seconds = tonumber(ms) / 1000 end
function commands.throttle(bytes) bytes_per_second = tonumber(bytes) end

function commands.cut(bytes)
  for link in pairs(links) do
    link.cut_after = tonumber(bytes)
    if not link.cut_after then reset(link) end
  end
end

function commands.hole(which)
  each_way(function(way, link)
    if which == "both" or way == link[which] then make_hole(way) end
  end)
end

function commands.inject(hex)
  local bytes = hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
  for link in pairs(links) do
    if link.up.left == 0 then hold(link.up, bytes) else link.up.slip = bytes end
  end
end

function commands.dying()
  local count = 0
  for link in pairs(links) do
    if link.cut_after or link.up.hole or link.down.hole then count = count + 1 end
  end
  return count
end

local function controlled_by(fd)
  local plug, input
  plug, input = plug_new(fd, function()
    local chunk = socket.recv(fd, CHUNK)
    if not chunk or chunk == "" then return close(plug) end
    input = input .. chunk
    for line in input:gmatch "([^\n]*)\n" do
      local name, argument = line:match "^(%l+) ?(%w*)$"
      local answer = commands[name](argument ~= "" and argument or nil)
      socket.send(fd, (answer or "ok") .. "\n")
    end
    input = input:match "[^\n]*$"
  end), ""
end

-- The loop.

-- Sends what is due; how long until the next is.
local function send_due()
  local wait = -1
  each_way(function(way, link)
    send(link, way)
    local chunk = links[link] and way.held[way.first]
    local from, to = watched[way.from.fd or -1], watched[way.to.fd or -1]
    if to then to.events.OUT = chunk and chunk.due <= now() or nil end
    if from then from.events.IN = way.bytes < HELD_MAX or nil end
    if chunk and chunk.due > now() then
      local ms = math.ceil((chunk.due - now()) * 1000)
      wait = wait < 0 and ms or math.min(wait, ms)
    end
  end)
  return wait
end

math.randomseed(unistd.getpid())
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
io.stdout:write(listen(link_open), " ", listen(controlled_by), "\n")
io.stdout:flush()
while true do
  poll.poll(watched, send_due())
  local come = {}
  for fd, entry in pairs(watched) do
    local happened = entry.revents or {}
    if happened.IN or happened.HUP or happened.ERR then come[#come + 1] = fd end
    entry.revents = nil
  end
  for _, fd in ipairs(come) do
    if ready[fd] then ready[fd]() end
  end
end
