-- What the cache costs: nanoseconds a call from a handler, with one worker, and with two at the same time.
-- Beside it lua-resty-lrucache, which a script could use for itself alone (its entries are Lua values of one
-- state, and lost with it), in plain LuaJIT, with a clock that costs nothing.
--
-- Two workers want two processors to themselves, which a busy machine does not leave them: each loop is tried
-- many times, and the try that was disturbed least counts, from its begin until both are done. A loop that
-- shares nothing tells what the machine has to give: where that is far from 2, nothing can be said.
local cjson = require "cjson"
local process = require "support.process"

local CALLS = 20000 -- about 2 ms: often not disturbed
local TRIES = 100
local PACKAGE = "lua-resty-lrucache"
local INSTALLED = "/usr/share/lua/5.1/"

-- The same loops for both: `cache` is there for them. What is read and counted is common to all processes,
-- what is set and added is each one's own, as ids of messages are.
local LOOPS = [[
  local CALLS = ]] .. CALLS .. [[

  local find, at = string.find, 0
  local common, own, missing, counters, ids = {}, {}, {}, {}, {}

  -- Each process has an order of its own: side by side, they would meet at every key.
  local function shuffle(list)
    for i = #list, 2, -1 do
      local j = math.random(i)
      list[i], list[j] = list[j], list[i]
    end
  end

  local function prepare(number)
    math.randomseed(number)
    for i = 1, 1000 do
      common[i], own[i], missing[i] = "key-" .. i, "key-" .. i .. "-" .. number, "none-" .. i
      counters[i] = "counter-" .. i
      cache.set(common[i], "a short string")
      cache.set(counters[i], i)
    end
    for i = 1, 20000 do ids[i] = "id-" .. number .. "-" .. i end
    for _, list in ipairs { common, own, missing, counters } do shuffle(list) end
  end

  local loops = {
    prepare,
    function() for i = 1, CALLS do cache.get(common[i % 1000 + 1]) end end,
    function() for i = 1, CALLS do cache.get(missing[i % 1000 + 1]) end end,
    function() for i = 1, CALLS do cache.set(own[i % 1000 + 1], "a short string") end end,
    function() for i = 1, CALLS do cache.incr(counters[i % 1000 + 1], 1) end end,
    function() -- each evicts another
      for _ = 1, CALLS do
        at = at % 20000 + 1
        cache.add(ids[at], true)
      end
    end,
    function() for i = 1, CALLS do find(common[i % 1000 + 1], "-%d+") end end,
  }
]]

local NAMES = { "get, a hit", "get, a miss", "set", "incr", "add, new", "nothing shared" }
local LOOPS_COUNT = 1 + #NAMES -- all of them are run once to warm up, and then TRIES times

local HANDLER = 'local cache = require "cache"\n' .. LOOPS .. [[
  return function(body, message)
    local began = os.clock()
    loops[(message.id - 1) % #loops + 1](tonumber(body))
    return "reject", ("%d"):format((os.clock() - began) * 1e9)
  end
]]

local PLAIN = [[
  ngx = { now = function() return 0 end }
  local lru = require "resty.lrucache".new(10000)
  local cache = {}
  function cache.get(key) return lru:get(key) end
  function cache.set(key, value) lru:set(key, value, 3600) end
  function cache.add(key, value)
    if lru:get(key) ~= nil then return false, "exists" end
    lru:set(key, value, 3600)
    return true
  end
  function cache.incr(key, by)
    local number = lru:get(key) + by
    lru:set(key, number, 3600)
    return number
  end
]] .. LOOPS .. [[
  local told = {}
  for round = 0, ]] .. TRIES .. [[ do
    for i = 1, #loops do
      local began = os.clock()
      loops[i](1)
      local spent = (os.clock() - began) * 1e9
      told[#told + 1] = ('{"passed":%d,"cpu":[%d]}'):format(spent, spent)
    end
  end
  print('{"messages":[' .. table.concat(told, ",") .. "]}")
]]

-- Debian's package is only unpacked: installed, it would bring another LuaJIT in place of the one that all is
-- built with.
local function find_lrucache()
  if io.open(INSTALLED .. "resty/lrucache.lua") then return INSTALLED end
  local folder = assert(os.getenv("MR_BENCH_DIR"), "run it by scripts/dev/bench")
  local command = ("cd '%s' && apt-get -qq download %s && dpkg -x %s_*.deb ."):format(folder, PACKAGE,
    PACKAGE)
  local result = process.run({ "sh", "-c", command }, { timeout = 120 })
  if result.code == 0 then return folder .. INSTALLED end
  print(("    There is no %s to compare with: %s"):format(PACKAGE, result.err))
end

local function run_plain(path)
  local result = process.run({ "luajit", "-e", PLAIN },
    { env = { LUA_PATH = path .. "?.lua;;" }, timeout = 300 })
  if result.code ~= 0 then error("lrucache: " .. result.err, 0) end
  return cjson.decode(result.out)
end

-- Processor time of a call, and how many are made in a second by all processes together, until the last one
-- is done: where they ran one after the other, that is no more than one does.
local function figures_of_try(told)
  local cpu = 0
  for _, spent in ipairs(told.cpu) do cpu = cpu + spent end
  return cpu / #told.cpu / CALLS, #told.cpu * CALLS / (told.passed / 1e9)
end

-- For each loop, both in the try in which most was done.
local function figures_of(told)
  local figures = {}
  for i, name in ipairs(NAMES) do
    local most = 0
    for try = 1, TRIES do
      local cpu, rate = figures_of_try(told.messages[try * LOOPS_COUNT + 1 + i])
      if rate > most then
        most, figures[name], figures[name .. ", rate"] = rate, cpu, rate
      end
    end
  end
  return figures
end

local function measure(bench)
  local path = find_lrucache()
  return bench.interleave({ "one", "two", path and "plain" }, function(variant)
    if variant == "plain" then return figures_of(run_plain(path)) end
    local processes = variant == "one" and "1" or "2"
    return figures_of(bench.program("cache", processes, ("%d"):format((1 + TRIES) * LOOPS_COUNT), HANDLER))
  end)
end

local function run(bench)
  local results = measure(bench)
  local one, two, plain = results.one, results.two, results.plain or {}
  local rows = {}
  for i, name in ipairs(NAMES) do
    rows[i] = { name, one[name], two[name], plain[name] or "-",
      plain[name] and bench.ratios(one[name], plain[name]) or "-" }
  end
  bench.table({ "CPU ns a call", "1 worker", "2 workers", "lrucache", "over lrucache" }, rows)
  for i, name in ipairs(NAMES) do
    local rate = name .. ", rate"
    rows[i] = { name, one[rate], two[rate], bench.ratios(two[rate], one[rate]) }
  end
  bench.table({ "calls/s", "1 worker", "2 workers", "ratio" }, rows)
  local hit, set = one["get, a hit"], one["set"]
  bench.claim("cache: a hit of a short string takes under 150 ns", bench.quantile(hit, 0.5) < 150, hit)
  bench.claim("cache: a set of a short string takes under 300 ns", bench.quantile(set, 0.5) < 300, set)
  for _, name in ipairs { "get, a hit", "set" } do
    local gain = bench.ratios(two[name .. ", rate"], one[name .. ", rate"])
    bench.claim(("cache: %s: two workers do 1.6 times what one does"):format(name),
      bench.quantile(gain, 0.5) >= 1.6, gain)
  end
  return results
end

return {
  about = "what a call of the cache costs, with one worker and with two, beside lua-resty-lrucache",
  run = run,
}
