-- A program for specs: it listens where an HTTP API is expected, and answers as it should not. The kind of
-- answer is its argument. It prints its port, then the path of each request and whether a password came with
-- it.
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local signal = require "posix.signal"
local time = require "posix.time"

local KIND = ...
local CHUNK = ("x"):rep(64 * 1024)
local HUGE_CHUNKS = 1024 -- 64 MiB

local function say(text)
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

local function send(fd, text)
  while #text > 0 do
    local sent = socket.send(fd, text)
    if not sent then return false end
    text = text:sub(sent + 1)
  end
  return true
end

local function answer(body, status)
  local head = "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close"
  return head:format(status or "200 OK", #body) .. "\r\n\r\n" .. body
end

local OVERVIEW = '{"rabbitmq_version":"9.9.9","churn_rates":[[]]}'

-- Of the kinds and values that nobody expects, by path.
local MEAN = {
  ["/api/overview"] = OVERVIEW,
  ["/api/nodes"] = '[1,null,{"name":7},{"name":"n\\u001b[31m\\n","running":"no","mem_used":1e999,' ..
    '"mem_limit":{},"mem_alarm":1,"fd_used":-1e308,"fd_total":0,"proc_used":NaN,"proc_total":"many"}]',
  ["/api/queues/%2F"] = '{"page_count":1e999,"items":[{"name":"\\u001b[2Jred\\u0000","messages":1,' ..
    '"consumers":0,"arguments":[1],"effective_policy_definition":"none","messages_details":3},' ..
    '{"name":{}},[],"q",{"name":"b","messages":null,"arguments":null}]}',
  ["/api/connections"] = '{"items":{"a":1}}',
  ["/api/channels"] = '[{"name":"c","messages_unacknowledged":"5","prefetch_count":[],"message_stats":[]}]',
  ["/api/consumers/%2F"] = '{"items":"none"}',
}

local KINDS = {}

function KINDS.garbage(fd) send(fd, "SSH-2.0-OpenSSH_9.2\r\n") end
function KINDS.html(fd) send(fd, answer "<html>hello</html>") end
function KINDS.number(fd) send(fd, answer "42") end
function KINDS.other(fd) send(fd, answer '{"title":"an API, but another one"}') end
function KINDS.error(fd) send(fd, answer("{}", "500 Internal Server Error")) end
function KINDS.redirect(fd, port)
  send(fd, ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nContent-Length: 0\r\n\r\n")
    :format(port))
end
function KINDS.announced(fd) send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n[") end
function KINDS.huge(fd)
  send(fd, "HTTP/1.1 200 OK\r\n\r\n")
  for _ = 1, HUGE_CHUNKS do
    if not send(fd, CHUNK) then return end
  end
end
function KINDS.drip(fd)
  send(fd, "HTTP/1.1 200 OK\r\n\r\n")
  while send(fd, " ") do time.nanosleep { tv_sec = 0, tv_nsec = 20e6 } end
end
function KINDS.mean(fd, _, path)
  send(fd, answer(MEAN[path:match "^[^?]*"] or "[]"))
end
function KINDS.deep(fd, _, path)
  send(fd, answer(path == "/api/overview" and OVERVIEW or ("["):rep(2000000)))
end
function KINDS.silent() end -- and keeps the connection

local kept = {}

local function serve(fd, port)
  local request = ""
  while not request:find("\r\n\r\n", 1, true) do
    local more = socket.recv(fd, 4096)
    if not more or more == "" then break end
    request = request .. more
  end
  local path = request:match "^GET (%S+)" or ""
  say(path .. (request:find("\r\nAuthorization: ", 1, true) and " with a password" or ""))
  KINDS[KIND](fd, port, path)
  if KIND == "silent" then kept[#kept + 1] = fd else unistd.close(fd) end
end

signal.signal(signal.SIGPIPE, signal.SIG_IGN)
local listener = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
assert(socket.bind(listener, { family = socket.AF_INET, addr = "127.0.0.1", port = 0 }))
assert(socket.listen(listener, 16))
local port = socket.getsockname(listener).port
say(port)
while true do
  local fd = socket.accept(listener)
  if fd then serve(fd, port) end
end
