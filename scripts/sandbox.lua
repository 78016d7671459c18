-- Builds the environment that a handler lives in: what a script may see, and nothing else. Run once in each
-- new Lua state by worker/sandbox.c, which passes what C brings: `host.cache`, `host.log`, `host.memory`,
-- `host.cjson`, `host["cjson.safe"]`, `host.load_module`, `host.enter_json`, `host.enter_coroutine`,
-- `host.tripped`. Returns the environment, the function that seals its globals, and where all of it is for
-- who looks through the heap (worker/heap_walk.c): globals and modules by name, and the contents of shells.
--
-- Library tables and the globals are handed out as empty shells whose contents are reached by __index: what
-- is read comes from the contents, what is written meets __newindex. The few functions that write past a
-- metatable (rawset and some of table's) are replaced by ones that know the shells. A script never gets hold
-- of the contents themselves: `pairs` walks a copy of them.
local host = ...

local error, getmetatable, load, next, pairs, pcall = error, getmetatable, load, next, pairs, pcall
local rawget, rawset, select, setmetatable = rawget, rawset, select, setmetatable
local tonumber, tostring, type, xpcall = tonumber, tostring, type, xpcall
local collect, concat, sort = collectgarbage, table.concat, table.sort
local format = string.format

-- What runs once is not worth compiling; on again at the end.
jit.off()

-- Machine code lies outside of the quota: in KiB, in all and for each piece.
jit.opt.start("maxmcode=512", "sizemcode=64")

local READ_ONLY = "read only" -- what getmetatable answers for everything that is locked

-- Shell -> its contents.
local contents = {}

local function copy_of(members)
  local copy = {}
  for key, value in next, members do
    copy[key] = value
  end
  return copy
end

local function pick(from, names)
  local picked = {}
  for name in names:gmatch("%S+") do
    picked[name] = from[name]
  end
  return picked
end

local function lock(members, on_write)
  local shell = setmetatable({}, { __index = members, __newindex = on_write, __metatable = READ_ONLY })
  contents[shell] = members
  return shell
end

local function library(name, members)
  return lock(members, function(_, key)
    error(format("%s.%s cannot be set: libraries are read only", name, tostring(key)), 2)
  end)
end

local function refuse_locked(name, target)
  if contents[target] then
    error(name .. " cannot change a library or the globals: they are read only", 3)
  end
end

-- A function that writes into its first argument behind the back of any metatable.
local function guard(name, write)
  return function(target, ...)
    refuse_locked(name, target)
    return write(target, ...)
  end
end

-- Libraries

local tables = pick(table, "concat foreach foreachi getn insert maxn move remove sort")
tables.insert = guard("table.insert", table.insert)
tables.remove = guard("table.remove", table.remove)
tables.sort = guard("table.sort", table.sort)
function tables.move(from, first, last, to, into)
  refuse_locked("table.move", into or from)
  return table.move(from, first, last, to, into)
end

local strings = pick(string, "byte char find format gmatch gsub len lower match rep reverse sub upper")
local string_metatable = getmetatable("")
string_metatable.__index = strings
string_metatable.__metatable = READ_ONLY

-- Coroutines inside of each other share the native stack: each looks at it first.
local coroutines = copy_of(coroutine)
function coroutines.resume(...)
  host.enter_coroutine()
  return coroutine.resume(...)
end
function coroutines.wrap(body)
  if type(body) ~= "function" then
    error(format("bad argument #1 to 'wrap' (function expected, got %s)", type(body)), 2)
  end
  local enter = coroutine.wrap(body)
  return function(...)
    host.enter_coroutine()
    return enter(...)
  end
end

-- As deep as the parser goes by default; deeper would end on the native stack.
local JSON_DEPTH_MAX = 1000

local function bounded(set_depth, name)
  return function(depth)
    if (tonumber(depth) or 0) > JSON_DEPTH_MAX then
      error(format("cjson.%s is at most %d", name, JSON_DEPTH_MAX), 2)
    end
    return set_depth(depth)
  end
end

-- Memory that cjson is refused is an error of the coroutine that called it; cjson is not called again then
-- (worker/json_memory.h).
local function entered(call)
  return function(...)
    host.enter_json()
    return call(...)
  end
end

local function json(cjson)
  local members = copy_of(cjson)
  for name, member in next, members do
    members[name] = type(member) == "function" and entered(member) or member
  end
  members.decode_max_depth = bounded(members.decode_max_depth, "decode_max_depth")
  members.encode_max_depth = bounded(members.encode_max_depth, "encode_max_depth")
  local new = members.new
  members.new = function()
    return json(new())
  end
  return members
end

-- require

local modules = {
  cache = library("cache", host.cache),
  cjson = library("cjson", json(host.cjson)),
  ["cjson.safe"] = library("cjson", json(host["cjson.safe"])),
  log = library("log", host.log),
  memory = library("memory", host.memory),
}

local brought = {}
for name in next, modules do
  brought[#brought + 1] = name
end
sort(brought)
brought = concat(brought, ", ")

-- Names of the modules that are being loaded, outermost first.
local loading = {}

local function refuse_cycle(name)
  for i = 1, #loading do
    if loading[i] == name then
      local path = concat(loading, " -> ", i)
      error(format("module '%s' requires itself: %s -> %s", name, path, name), 3)
    end
  end
end

local function load_module(name)
  local chunk, problem, missing = host.load_module(name)
  if not chunk then
    local known = missing and format(" (moonrabbit brings %s)", brought) or ""
    error(format("module '%s' cannot be loaded: %s%s", (name:gsub("%c", "?")), problem, known), 3)
  end
  loading[#loading + 1] = name
  local done, result = pcall(chunk, name)
  loading[#loading] = nil
  if not done then
    error(result, 0)
  end
  return result
end

local function require(name)
  if type(name) ~= "string" then
    error('require takes the name of a module, as in require "cjson"', 2)
  end
  local module = modules[name]
  if module == nil then
    refuse_cycle(name)
    module = load_module(name)
    if module == nil then
      module = true
    end
    modules[name] = module
  end
  return module
end

-- Globals

local globals = pick(_G, [[_VERSION assert error getmetatable ipairs next rawequal select setmetatable
  tonumber tostring type unpack]])
local sealed = false

local environment = lock(globals, function(_, key, value)
  if sealed then
    local advice = "global '%s' cannot be set once the handler runs: use `local`, or the cache"
    error(format(advice, tostring(key)), 2)
  end
  globals[key] = value
end)

globals._G = environment
globals.bit = library("bit", copy_of(bit))
globals.coroutine = library("coroutine", coroutines)
globals.math = library("math", copy_of(math))
globals.os = library("os", pick(os, "clock date difftime time"))
globals.string = library("string", strings)
globals.table = library("table", tables)
globals.rawset = guard("rawset", rawset)
globals.require = require

function globals.pairs(target)
  local members = contents[target]
  return pairs(members and copy_of(members) or target)
end

function globals.rawget(target, key)
  return rawget(contents[target] or target, key)
end

-- All that a reader function of `load` gives: called from in here, since `load` would catch what ends a
-- message and leave its hook off.
local function read_all(reader)
  local pieces = {}
  local piece = reader()
  while piece ~= nil and piece ~= "" do
    if type(piece) ~= "string" then
      error("reader function must return a string", 0)
    end
    pieces[#pieces + 1] = piece
    piece = reader()
  end
  return concat(pieces)
end

-- Text only, whatever `mode` asks for; globals are the sandbox's unless the script brings a table of its own.
function globals.load(chunk, name, _, env)
  if type(chunk) == "function" then
    local read
    read, chunk = pcall(read_all, chunk)
    if not read then
      return nil, chunk
    end
    name = name or "=(load)"
  end
  return load(chunk, name, "t", env or environment)
end
globals.loadstring = globals.load

function globals.collectgarbage(what)
  if what ~= "count" then
    error('collectgarbage only answers "count" here: the worker sees to the collecting', 2)
  end
  return collect("count")
end

-- A frame of Lua's between: LuaJIT's own pcall looks for no room on the stack, and as its own __call it would
-- write past the end.
function globals.pcall(...)
  return pcall(...)
end

-- The error handler of xpcall runs with hooks off where the error came from one: no limit would hold there.
function globals.xpcall(call, handler, ...)
  if type(handler) ~= "function" then
    error(format("bad argument #2 to 'xpcall' (function expected, got %s)", type(handler)), 2)
  end
  return xpcall(call, function(problem)
    if host.tripped() then
      return problem
    end
    return handler(problem)
  end, ...)
end

function globals.print(...)
  local texts = {}
  for i = 1, select("#", ...) do
    texts[i] = tostring((select(i, ...)))
  end
  host.log.info(concat(texts, "\t"))
end

local function seal()
  sealed = true
end

jit.on()

return environment, seal, globals, modules, contents
