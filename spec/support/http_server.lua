-- An HTTP server for the specs of http, with all the ways in which a server can be bad. One process, poll(2);
-- as a program (luajit spec/support/http_server.lua) it prints its port and serves until it is ended. What it
-- does with a request is said by the path:
--
--     /echo          method, path, headers and body, as JSON
--     /delay/MS      an empty object, after so many milliseconds
--     /status/CODE   that status
--     /size/BYTES    a body of so many bytes
--     /to/URL        redirects there; /loop redirects to itself
--     /hang          no answer; /trickle a byte of it now and then; /reset ends the connection
--     /most          how many requests were waiting for their delay at once, at most
local poll = require "posix.poll"
local socket = require "posix.sys.socket"
local time = require "posix.time"
local unistd = require "posix.unistd"
local fcntl = require "posix.fcntl"

local CHUNK = 65536

local listener = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
assert(socket.bind(listener, { family = socket.AF_INET, addr = "127.0.0.1", port = 0 }))
assert(socket.listen(listener, 1024))
fcntl.fcntl(listener, fcntl.F_SETFL, fcntl.O_NONBLOCK)

local connections = {} -- fd -> { input, output, due, reply }
local watched = { [listener] = { events = { IN = true } } }
local delayed, most = 0, 0

local function now()
  local clock = time.clock_gettime(time.CLOCK_MONOTONIC)
  return clock.tv_sec + clock.tv_nsec / 1e9
end

local function close(fd)
  connections[fd], watched[fd] = nil, nil
  unistd.close(fd)
end

local function reply(status, body, headers)
  local head = "HTTP/1.1 %d Spec\r\nContent-Length: %d\r\nContent-Type: application/json\r\n%s\r\n%s"
  return head:format(status, #body, headers or "", body)
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local routes = {}

function routes.echo(_, request)
  local headers = {}
  for name, value in request.head:gmatch "\r\n([^:\r\n]+): ?([^\r\n]*)" do
    headers[#headers + 1] = quote(name:lower()) .. ":" .. quote(value)
  end
  return reply(200, ('{"method":%s,"path":%s,"body":%s,"headers":{%s}}'):format(quote(request.method),
    quote(request.path), quote(request.body), table.concat(headers, ",")), "X-Twice: a\r\nX-Twice: b\r\n")
end

function routes.delay(connection, _, ms)
  connection.due, connection.reply = now() + tonumber(ms) / 1000, reply(200, "{}")
  delayed = delayed + 1
  most = math.max(most, delayed)
end

function routes.status(_, _, code) return reply(tonumber(code), "{}") end
function routes.to(_, request) return reply(302, "", "Location: " .. request.path:sub(5) .. "\r\n") end
function routes.loop() return reply(302, "", "Location: /loop\r\n") end
function routes.most() return reply(200, tostring(most)) end
function routes.hang() end

function routes.size(connection, _, bytes)
  connection.left = tonumber(bytes)
  return ("HTTP/1.1 200 Spec\r\nContent-Length: %s\r\n\r\n"):format(bytes)
end

function routes.trickle(connection)
  connection.trickles, connection.due = true, now()
  return "HTTP/1.1 200 Spec\r\nContent-Length: 1000000\r\n\r\n"
end

function routes.reset(connection)
  connection.closing = true
  return "HTTP/1.1 200 Spec\r\nContent-Length: 100\r\n\r\nhalf"
end

-- Sends what it can, and is told when it can send more.
local function send(fd, connection)
  while true do
    if connection.output == "" and (connection.left or 0) > 0 then
      connection.output = ("x"):rep(math.min(connection.left, CHUNK))
      connection.left = connection.left - #connection.output
    end
    if connection.output == "" then break end
    local sent = socket.send(fd, connection.output)
    if not sent then break end
    connection.output = connection.output:sub(sent + 1)
  end
  watched[fd].events = { IN = true, OUT = connection.output ~= "" or nil }
  if connection.output == "" and connection.closing then close(fd) end
end

local function serve(fd, connection)
  while connections[fd] and not connection.due do
    local head, rest = connection.input:match "^(.-\r\n)\r\n(.*)$"
    local size = head and tonumber(head:lower():match "\r\ncontent%-length: ?(%d+)" or 0)
    if not head or #rest < size then return end
    connection.input = rest:sub(size + 1)
    local method, path = head:match "^(%S+) (%S+)"
    local name, argument = path:match "^/(%w*)/?([^/]*)"
    local route = routes[name] or function() return reply(404, "{}") end
    local request = { method = method, path = path, head = head, body = rest:sub(1, size) }
    connection.output = connection.output .. (route(connection, request, argument) or "")
    send(fd, connection)
  end
end

local function read(fd)
  local connection = connections[fd]
  local data = socket.recv(fd, CHUNK)
  if not data or data == "" then
    close(fd)
    return
  end
  connection.input = connection.input .. data
  serve(fd, connection)
end

local function accept()
  local fd = socket.accept(listener)
  if not fd then return end
  fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
  connections[fd], watched[fd] = { input = "", output = "" }, { events = { IN = true } }
end

local function fall_due()
  local at, wait = now(), -1
  for fd, connection in pairs(connections) do
    if connection.due and connection.due <= at then
      if connection.trickles then
        connection.output, connection.due = connection.output .. "x", at + 0.05
      else
        connection.output, connection.due = connection.output .. connection.reply, nil
        delayed = delayed - 1
      end
      send(fd, connection)
      serve(fd, connection)
    end
    if connection.due then
      local ms = math.max(0, math.ceil((connection.due - at) * 1000))
      wait = wait < 0 and ms or math.min(wait, ms)
    end
  end
  return wait
end

io.stdout:write(socket.getsockname(listener).port, "\n")
io.stdout:flush()
while true do
  poll.poll(watched, fall_due())
  local events = {}
  for fd, entry in pairs(watched) do
    if entry.revents then events[fd], entry.revents = entry.revents, nil end
  end
  for fd, revents in pairs(events) do
    if fd == listener then
      accept()
    elseif connections[fd] and (revents.IN or revents.HUP or revents.ERR) then
      read(fd)
    elseif connections[fd] and revents.OUT then
      send(fd, connections[fd])
    end
  end
end
