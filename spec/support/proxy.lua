-- A proxy in front of a server on loopback, as specs have it: started by proxy.start, and told what to do to
-- the connections through it. What it can do is said in proxy_server.lua. It ends with the spec.
local http = require "support.http"
local process = require "support.process"
local root = require "support.root"

local proxy = {}

local Proxy = {}
Proxy.__index = Proxy

---@param port integer of the server
---@return table proxy clients connect to its `port`
function proxy.start(port)
  local program = process.start { "luajit", root .. "/spec/support/proxy_server.lua", tostring(port) }
  assert(program:wait_until(function() return program.out:text():find "\n" end), program:stderr())
  local taken, control = program.out:text():match "^(%d+) (%d+)\n"
  local connection = assert(http.connect("127.0.0.1:" .. control))
  return setmetatable({ port = tonumber(taken), program = program, connection = connection }, Proxy)
end

---Gives it a command, which is done when this returns.
---@vararg any the command and its argument
---@return string answer
function Proxy:tell(...)
  self.connection:send(table.concat({ ... }, " ") .. "\n")
  local answer = assert(self.connection:some())
  return (assert(answer:match "^(%w+)\n$", self.program:stderr()))
end

---@return integer connections, to be cut or half-open, that a side still holds
function Proxy:dying()
  return tonumber(self:tell "dying")
end

return proxy
