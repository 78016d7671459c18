-- Builds the environment that a handler lives in: what a script may see, and nothing else. Run once in each
-- new Lua state by worker/sandbox.c, which passes what C brings: `host.cache`, `host.log`, `host.memory`,
-- `host.cjson`, `host["cjson.safe"]`, `host.load_module`, `host.enter_json`, `host.enter_coroutine`,
-- `host.tripped`, `host.concurrent` (several messages are under way at once), what worker/wait.h names, and
-- `host.http` where that is allowed. Returns the environment, the function that seals its globals, and where
-- all of it is for who looks through the heap (worker/heap_walk.c): globals and modules by name, and the
-- contents of shells.
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
local create, resume, running = coroutine.create, coroutine.resume, coroutine.running
local status, yield, isyieldable = coroutine.status, coroutine.yield, coroutine.isyieldable

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

-- Waiting (worker/wait.h). Where several messages are under way at once, a function that waits yields WAIT:
-- to the worker's loop, or to the script's coroutine that resumed this one, which then waits in turn. No
-- script ever sees WAIT, and none can resume what waits.

local WAIT = host.wait_mark
local waiting = setmetatable({}, { __mode = "k" }) -- coroutine -> true
local sealed = false
local loading = {} -- names of the modules that are being loaded, outermost first

local function give_way()
  if not isyieldable() then
    host.cancel_wait()
    error("nothing can wait in a function that table.sort, string.gsub or another library calls, " ..
      "where several messages are under way at once", 4)
  end
  local co = running()
  waiting[co] = true
  yield(WAIT)
  waiting[co] = nil
end

-- A function that waits: `begin` returns true, or nil and what is wrong with its arguments, for which the
-- function at `level` is to blame.
local function pausing(name, begin, level)
  return function(...)
    if host.concurrent and sealed and loading[1] then
      error(name .. ": a module that a handler loads cannot wait: require it at the top of the script", level)
    end
    local begun, problem = begin(...)
    if not begun then
      error(problem, level)
    end
    if host.pause() then
      give_way()
    end
    return host.end_wait()
  end
end

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

-- What came of resuming `co`; where it waits, so does who resumed it.
local function pass_on(co, ...)
  local _, mark = ...
  if mark ~= WAIT then
    return ...
  end
  give_way()
  return pass_on(co, resume(co))
end

local function returned(done, ...)
  if not done then
    error((...), 0)
  end
  return ...
end

local function refuse_mark(...)
  if (...) == WAIT then
    error("attempt to yield from outside a coroutine", 3)
  end
  return ...
end

if host.concurrent then
  local WAITS = "cannot resume a coroutine that waits"

  function coroutines.resume(co, ...)
    host.enter_coroutine()
    if waiting[co] then
      return false, WAITS
    end
    return pass_on(co, resume(co, ...))
  end

  function coroutines.wrap(body)
    if type(body) ~= "function" then
      error(format("bad argument #1 to 'wrap' (function expected, got %s)", type(body)), 2)
    end
    local co = create(body)
    return function(...)
      host.enter_coroutine()
      if waiting[co] then
        error(WAITS, 2)
      end
      return returned(pass_on(co, resume(co, ...)))
    end
  end

  function coroutines.yield(...)
    return refuse_mark(yield(...))
  end

  function coroutines.status(co)
    return waiting[co] and "normal" or status(co)
  end
end

-- What cache.fetch calls may wait: so it is called from Lua, between a first fetch that finds nothing and a
-- second that keeps the value, unless another handler has brought one meanwhile.
local function fetching(cache)
  local fetch = cache.fetch
  local under_way = setmetatable({}, { __mode = "k" }) -- coroutine -> what it fetches: key -> true

  function cache.fetch(key, ttl, make)
    local missing = false
    local found = fetch(key, ttl, type(make) == "function" and function() missing = true end or make)
    if not missing then
      return found
    end
    local co, name = running() or "setup", tostring(key)
    local mine = under_way[co] or {}
    under_way[co] = mine
    if mine[name] then
      error(format("cache.fetch: the function for '%s' fetches that key itself", name), 2)
    end
    mine[name] = true
    local done, value = pcall(make)
    mine[name] = nil
    if not done then
      error(value, 0)
    end
    return fetch(key, ttl, function() return value end)
  end
  return cache
end

if host.concurrent then
  local open = fetching(host.cache).space
  function host.cache.space(...)
    local space, reason = open(...)
    return space and fetching(space), reason
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

if host.http then
  local request, decode = pausing("http", host.http, 3), modules.cjson.decode

  local function finish(response, problem)
    if not response then
      return nil, problem
    end
    function response.json()
      return decode(response.body)
    end
    return response
  end

  local function asking(method)
    return function(url, options)
      if options ~= nil and type(options) ~= "table" then
        error("http: what follows the URL is a table of options", 2)
      end
      local all = copy_of(options or {})
      all.url, all.method = url, method
      return finish(request(all))
    end
  end

  modules.http = library("http", {
    request = function(options) return finish(request(options)) end,
    get = asking "GET",
    head = asking "HEAD",
    post = asking "POST",
    put = asking "PUT",
    delete = asking "DELETE",
  })
end

local brought = {}
for name in next, modules do
  brought[#brought + 1] = name
end
sort(brought)
brought = concat(brought, ", ")

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
    if missing and name == "http" then
      known = ": moonrabbit brings it where the key http.allow names the hosts that handlers may ask"
    end
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
globals.sleep = pausing("sleep", host.sleep, 2)

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
