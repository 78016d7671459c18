-- A client of the status listener: asks as one should, and lets specs send what one should not.
local poll = require "posix.poll"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"

local PATIENCE_MS = 30000 -- a listener that is silent for so long hangs

local http = {}
local open = {} -- connections that the spec has not closed

local Connection = {}
Connection.__index = Connection

local function split(address)
  local host, port = address:match("^%[?([^%]]+)%]?:(%d+)$")
  return host, tonumber(port)
end

---@param address string "host:port" or "[host]:port", as the log names it
---@return table|nil connection, string|nil reason
function http.connect(address)
  local host, port = split(address)
  local family = host:find(":", 1, true) and socket.AF_INET6 or socket.AF_INET
  local fd = assert(socket.socket(family, socket.SOCK_STREAM, 0))
  local done, reason = socket.connect(fd, { family = family, addr = host, port = port })
  if not done then
    unistd.close(fd)
    return nil, reason
  end
  local connection = setmetatable({ fd = fd }, Connection)
  open[connection] = true
  return connection
end

---@return integer|nil bytes, string|nil reason
function Connection:send(text)
  return socket.send(self.fd, text)
end

---What has come since, once something has; "" at the end, nil where nothing comes.
---@param patience_ms? integer
---@return string|nil text, string|nil reason
function Connection:some(patience_ms)
  if poll.rpoll(self.fd, patience_ms or PATIENCE_MS) == 1 then
    return socket.recv(self.fd, 65536) or ""
  end
  return nil, "nothing comes any more"
end

---What comes until the other side ends the connection; nil where it does not.
---@return string|nil text, string|nil reason
function Connection:rest()
  local chunks = {}
  repeat
    local chunk, reason = self:some()
    if not chunk then
      return nil, reason
    end
    chunks[#chunks + 1] = chunk
  until chunk == ""
  return table.concat(chunks)
end

function Connection:close()
  if open[self] then
    unistd.close(self.fd)
    open[self] = nil
  end
end

---Whether the other side has ended it, by now.
function Connection:is_over()
  if poll.rpoll(self.fd, 0) ~= 1 then
    return false
  end
  local chunk = socket.recv(self.fd, 1)
  return not chunk or chunk == ""
end

---@return { code: integer, headers: table<string, string>, body: string }|nil response, string|nil reason
local function parse(text)
  local head, body = text:match("^(.-)\r\n\r\n(.*)$")
  local code = head and head:match("^HTTP/1%.1 (%d+) ")
  if not code then
    return nil, ("this is no response: %q"):format(text:sub(1, 200))
  end
  local headers = {}
  for name, value in head:gmatch("\r\n([^:]+): ([^\r]*)") do
    headers[name:lower()] = value
  end
  return { code = tonumber(code), headers = headers, body = body }
end

---@param address string
---@param request string from the method to the empty line
---@return table|nil response of parse, string|nil reason
function http.ask(address, request)
  local connection, refused = http.connect(address)
  if not connection then
    return nil, refused
  end
  connection:send(request)
  local text, reason = connection:rest()
  connection:close()
  if not text then
    return nil, reason
  end
  return parse(text)
end

---@param address string
---@param path string
---@param method? string
---@return table|nil response, string|nil reason
function http.get(address, path, method)
  return http.ask(address, ("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n"):format(method or "GET", path, address))
end

---@param text string of /metrics
---@return table<string, number> values by name and labels, as they stand there; table<string, string> types
function http.samples(text)
  local values, types = {}, {}
  for line in text:gmatch("[^\n]+") do
    local name, kind = line:match("^# TYPE (%S+) (%S+)$")
    local series, value = line:match("^([^#].*) (%S+)$")
    if name then
      types[name] = kind
    elseif series then
      assert(not values[series], series .. " is there twice")
      values[series] = assert(tonumber(value), line)
    end
  end
  return values, types
end

---Closes what the spec has left open.
function http.cleanup()
  for connection in pairs(open) do
    connection:close()
  end
end

return http
