-- What a handler may use, through the real program: cjson, log, print, modules of its own, setup and
-- teardown; and what is not there for it.
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local cleanup = require "support.cleanup"

local PATIENCE_SECONDS = 120

-- Handlers say `told(name, value)`; the spec looks at the value in words.
local TELL = [[
  local log, describe = require "log", require "describe"
  local function told(name, value) log.info("told " .. name, { value = describe(value) }) end
  local function try(name, attempt, ...)
    local done, result = pcall(attempt, ...)
    told(name, done and { done = result } or result)
  end
]]

local function told(result, name)
  return scene.find(result.logs, "told " .. name).value
end

-- The handler of one message, as the body of its function; and what the program said.
local function handle(body, ...)
  local one = scene.new(TELL .. "return function(data, message) " .. body .. "\nend")
  one:publish "{}"
  return one:settle(1, ...), one
end

describe("cjson", function()
  after_each(cleanup)

  it("encodes and decodes", function()
    local result = handle [[
      local cjson = require "cjson"
      told("decoded", cjson.decode '{"a": [1, null, {"b": "\\u00e9"}]}')
      told("encoded", cjson.encode { a = { 1, cjson.null, "x" } })
      told("again", cjson.decode(cjson.encode { text = "\0\1\"\\\n", n = 0.1 }))
      try("not JSON", cjson.decode, "{")
      try("no JSON", cjson.encode, { print })
      told("one and the same", require "cjson" == cjson)
    ]]
    assert.equal('{a: {1: 1, 2: null, 3: {b: "\\xc3\\xa9"}}}', told(result, "decoded"))
    assert.equal('"{"a":[1,null,"x"]}"', told(result, "encoded"))
    assert.equal('{n: 0.10000000000000001, text: "\\x00\\x01"\\\\x0a"}', told(result, "again"))
    assert.matches("Expected object key string but found T_END at character 2", told(result, "not JSON"))
    assert.matches("Cannot serialise function", told(result, "no JSON"))
    assert.equal("true", told(result, "one and the same"))
  end)

  it("has a form that returns its errors", function()
    local result = handle [[
      local safe = require "cjson.safe"
      told("not JSON", { safe.decode "{" })
      told("JSON", { safe.decode "[1]" })
    ]]
    assert.matches('^{2: "Expected object key string', told(result, "not JSON"))
    assert.equal("{1: {1: 1}}", told(result, "JSON"))
  end)

  it("cannot be changed, nor made to overflow the stack", function()
    local result = handle [[
      local cjson = require "cjson"
      try("set", function() cjson.decode = print end)
      try("deep", cjson.encode_max_depth, 1e9)
      try("decode deep", cjson.decode, ("["):rep(1e5))
    ]]
    assert.matches("cjson.decode cannot be set: libraries are read only", told(result, "set"))
    assert.matches("cjson.encode_max_depth is at most 1000", told(result, "deep"))
    assert.matches("too many nested data structures", told(result, "decode deep"))
  end)
end)

describe("log", function()
  after_each(cleanup)

  local LEVELS = 'log.debug "d"; log.info "i"; log.warn "w"; log.error "e"'

  local function levels_of(result)
    local levels = {}
    for _, line in ipairs(result.logs) do
      levels[line.msg] = line.consumer and line.level
    end
    return { levels.d, levels.i, levels.w, levels.e, n = 4 }
  end

  it("has four levels, of which log.level says which are written", function()
    assert.same({ nil, "info", "warning", "error", n = 4 }, levels_of(handle(LEVELS)))
    local all = { "debug", "info", "warning", "error", n = 4 }
    assert.same(all, levels_of(handle(LEVELS, "--log-level", "debug")))
    assert.same({ nil, nil, nil, "error", n = 4 }, levels_of(handle(LEVELS, "--log-level", "error")))
  end)

  it("names consumer and worker, and takes fields of every type", function()
    local result, one = handle [[
      log.info("fields", { text = "a\"b\\c\nd\0\255", number = 1.5, whole = 2^53, yes = true, no = false,
        null = require "cjson".null, list = {}, call = print, inf = 1/0, ["a b=\n"] = "key", [1] = "one",
        [true] = "no name" })
      log.info("text", "not a table")
      log.info(nil)
      log.info(12.5)
    ]]
    local line = scene.find(result.logs, "fields")
    assert.same({ one.queue, 1 }, { line.consumer, line.worker })
    assert.same({ 'a"b\\c\nd\0\239\191\189', 1.5, 2 ^ 53, true, false },
      { line.text, line.number, line.whole, line.yes, line.no })
    assert.same({ "table", "function", "inf", "key", "one" },
      { line.list, line.call, line.inf, line["a_b__"], line["1"] })
    assert.equal(require "cjson".null, line.null)
    assert.is_nil(line["true"])
    assert.equal("not a table", scene.find(result.logs, "text").detail)
    assert(scene.find(result.logs, "nil"))
    assert(scene.find(result.logs, "12.5"))
  end)

  it("lets no field take the place of what the program says of the line", function()
    local result, one = handle [[
      log.info("true", { msg = "forged", level = "error", time = "now", consumer = "other", worker = 99,
        [""] = "no name" })
    ]]
    local line = scene.find(result.logs, "true")
    assert.same({ "info", one.queue, 1 }, { line.level, line.consumer, line.worker })
    assert.same({ "forged", "error", "now", "other", 99, "no name" },
      { line.msg_, line.level_, line.time_, line.consumer_, line.worker_, line._ })
    assert.matches("^%d%d%d%d%-", line.time)
  end)

  it("writes no line that is longer than its bound, and all are JSON", function()
    local result = handle [[
      local fields = {}
      for i = 1, 100 do fields["f" .. i] = ("\0"):rep(5000) end
      log.info(("m"):rep(100000), fields)
      log.info("\255\254" .. ("\195\169"):rep(5000), { a = ("\195\169"):rep(3000) })
    ]]
    local long = 0
    for line in result.err:gmatch "[^\n]+" do
      assert.is_true(#line < 4096, #line)
      long = long + (#line > 2000 and 1 or 0)
    end
    assert.equal(2, long)
    for _, line in ipairs(result.logs) do
      assert.is_nil(line.raw)
    end
  end)

  it("keeps to one line in logfmt, too", function()
    local result = handle([[log.info("a b", { text = 'c="d"\nlevel=error', plain = "x", empty = "" })]],
      "--log-format", "logfmt")
    local line = result.err:match('[^\n]*msg="a b"[^\n]*')
    assert.matches('level=info .* empty="" plain=x text="c=\\"d\\"\\nlevel=error"$', line)
  end)

  it("is where print goes; nothing comes to standard output", function()
    local result = handle 'print("a", 1.5, nil, true); print()'
    assert.equal("info", scene.find(result.logs, "a\t1.5\tnil\ttrue").level)
    assert(scene.find(result.logs, ""))
    assert.equal("", result.out)
  end)

  it("loses no line of many", function()
    local result = handle [[for i = 1, 5000 do log.info("line", { i = i }) end]]
    local lines = scene.find_all(result.logs, "line")
    assert.same({ 5000, 1, 5000 }, { #lines, lines[1].i, lines[5000].i })
  end)
end)

describe("require", function()
  after_each(cleanup)

  it("finds modules beside the script and below it, and loads each once", function()
    local one = scene.new {
      ["handler.lua"] = TELL .. [[
        local money, tax, util = require "money", require "lib.tax", require "lib-2.util_3"
        return function(data, message)
          told("money", money)
          told("tax", tax)
          told("util", util)
          told("same", require "lib.tax" == tax and tax.money == money)
        end
      ]],
      ["money.lua"] = [[loads = (loads or 0) + 1; return { name = ..., loads = loads }]],
      ["lib/tax/init.lua"] = [[return { name = ..., money = require "money" }]],
      ["lib-2/util_3.lua"] = "",
    }
    one:publish ""
    local result = one:settle(1)
    assert.equal('{loads: 1, name: "money"}', told(result, "money"))
    assert.equal('{money: {loads: 1, name: "money"}, name: "lib.tax"}', told(result, "tax"))
    assert.equal("true", told(result, "util"))
    assert.equal("true", told(result, "same"))
  end)

  it("refuses names that are no modules of its folder", function()
    local outside = workspace.new()
    outside:write("secret.lua", "return 'secret'")
    local names = {
      "..", "../secret", "..secret", "secret..", ".secret", "a..b", outside.path .. "/secret", "/etc/passwd",
      "lib/tax", "", "a b", "a\0b", "money.lua/", ("x"):rep(300), "~", "%2e%2e",
    }
    local one = scene.new(TELL .. [[
      local cjson = require "cjson"
      return function(data)
        for i, name in ipairs(cjson.decode(data)) do try(tostring(i), require, name) end
        try("number", require, 5)
        try("none", require)
      end
    ]])
    one:publish(require "cjson".encode(names))
    local result = one:settle(1)
    for i in ipairs(names) do
      assert.matches("cannot be loaded: a module's name is made of letters, digits, _ and %-, with dots",
        told(result, tostring(i)))
    end
    for _, name in ipairs { "number", "none" } do
      assert.matches('require takes the name of a module, as in require "cjson"', told(result, name))
    end
  end)

  it("refuses what is not a plain file of text in its folder", function()
    local outside = workspace.new()
    outside:write("secret.lua", "return 'secret'")
    local one = scene.new {
      ["handler.lua"] = TELL .. [[
        return function()
          for name in ("link within below.secret folder pipe bytecode large"):gmatch "%S+" do
            try(name, require, name)
          end
        end
      ]],
      ["real.lua"] = "return 1",
      ["folder.lua/x"] = "",
      ["bytecode.lua"] = string.dump(function() end),
      ["large.lua"] = "return '" .. ("x"):rep(2 ^ 20) .. "'",
    }
    local folder = one.space.path
    assert(unistd.link(outside.path .. "/secret.lua", folder .. "/link.lua", true))
    assert(unistd.link("real.lua", folder .. "/within.lua", true))
    assert(unistd.link(outside.path, folder .. "/below", true))
    assert(stat.mkfifo(folder .. "/pipe.lua", 384))
    one:publish ""
    local result = one:settle(1)
    for _, name in ipairs { "link", "within", "below.secret" } do
      assert.matches("cannot be loaded: .*%.lua: a symbolic link, or behind one", told(result, name))
    end
    assert.matches("folder.lua: not a regular file", told(result, "folder"))
    assert.matches("pipe.lua: not a regular file", told(result, "pipe"))
    assert.matches("bytecode.lua is bytecode: only Lua text", told(result, "bytecode"))
    assert.matches("large.lua: larger than a script may be %(1048576 bytes%)", told(result, "large"))
  end)

  it("brings no other library", function()
    local result = handle [[
      for name in ("io os debug ffi jit package bit jit.util jit.profile table.new string.buffer _G posix " ..
        "socket"):gmatch "%S+" do
        try(name, require, name)
      end
    ]]
    for _, name in ipairs { "io", "os", "debug", "ffi", "jit", "package", "bit", "jit.util", "jit.profile",
      "table.new", "string.buffer", "_G", "posix", "socket" } do
      assert.matches(("module '%s' cannot be loaded: there is neither"):format(name), told(result, name))
    end
  end)

  it("follows a link to the script itself, whose modules are beside the real one", function()
    local real = workspace.new()
    real:write("handler.lua", [[local name = require "own"
      return function() require "log".info("own module: " .. name) end]])
    real:write("own.lua", "return 'beside the real one'")
    local one = scene.new { ["own.lua"] = "return 'beside the link'" }
    assert(unistd.link(real.path .. "/handler.lua", one.space.path .. "/handler.lua", true))
    one:publish ""
    assert(scene.find(one:settle(1).logs, "own module: beside the real one"))
  end)
end)

describe("the sandbox", function()
  after_each(cleanup)

  it("has nothing that reaches out of it", function()
    local result = handle [[
      local absent = "io debug ffi jit package module getfenv setfenv loadfile dofile newproxy gcinfo arg " ..
        "os.execute os.exit os.getenv os.remove os.rename os.tmpname os.setlocale string.dump log cjson"
      local found = {}
      for path in absent:gmatch "%S+" do
        local value = _G
        for name in path:gmatch "[^.]+" do value = value[name] end
        if value ~= nil then found[#found + 1] = path end
      end
      told("found", found)
      told("bytecode", { load "\27LJ\2" })
      told("bytecode, whatever the mode", { load("\27LJ\2", "x", "b") })
      told("string's metatable", getmetatable "")
      try("collectgarbage", collectgarbage, "stop")
      told("count", type(collectgarbage "count"))
      told("load", load "return string.rep('x', 3), io, debug" ())
    ]]
    assert.equal("{}", told(result, "found"))
    assert.matches("attempt to load chunk with wrong mode", told(result, "bytecode"))
    assert.matches("attempt to load chunk with wrong mode", told(result, "bytecode, whatever the mode"))
    assert.equal('"read only"', told(result, "string's metatable"))
    assert.matches('collectgarbage only answers "count" here', told(result, "collectgarbage"))
    assert.equal('"number"', told(result, "count"))
    assert.equal('"xxx"', told(result, "load"))
  end)

  it("keeps globals as they were when the script had loaded", function()
    local one = scene.new(TELL .. [[
      limit = 5
      return { setup = function() ready = true end, handle = function(data)
        if data == "again" then
          told("again", { limit, ready, counter, type(string.rep) })
          return
        end
        try("new", function() counter = (counter or 0) + 1 end)
        try("old", function() limit = 6 end)
        try("_G", function() _G.counter = 1 end)
        try("rawset", rawset, _G, "counter", 1)
        try("insert", table.insert, _G, 1)
        try("setmetatable", setmetatable, _G, {})
        try("library", function() string.rep = nil end)
        try("library raw", rawset, string, "rep", false)
        try("method", function() getmetatable("").__index = {} end)
      end }
    ]])
    one:publish ""
    one:publish "again"
    local result = one:settle(2)
    local advice = "global '%s' cannot be set once the handler runs: use `local`, or the cache"
    assert.matches(advice:format "counter", told(result, "new"))
    assert.matches(advice:format "limit", told(result, "old"))
    assert.matches(advice:format "counter", told(result, "_G"))
    assert.matches("rawset cannot change a library or the globals", told(result, "rawset"))
    assert.matches("table.insert cannot change a library or the globals", told(result, "insert"))
    assert.matches("cannot change a protected metatable", told(result, "setmetatable"))
    assert.matches("string.rep cannot be set: libraries are read only", told(result, "library"))
    assert.matches("rawset cannot change a library", told(result, "library raw"))
    assert.matches("attempt to index a string value", told(result, "method"):gsub("%b()", ""))
    assert.equal('{1: 5, 2: true, 4: "function"}', told(result, "again"))
  end)
end)

describe("setup and teardown", function()
  after_each(cleanup)

  local LIVES = TELL .. [[
    local state = "loaded"
    return {
      setup = function() state = "set up"; log.info "setup" end,
      handle = function(data) log.info("handled", { state = state }) end,
      teardown = function() log.info("teardown", { state = state }) end,
    }
  ]]

  it("run once in each worker, at its start and at SIGTERM", function()
    local one = scene.new(LIVES)
    local program = one:start("--workers", "3")
    assert.equal(3, #scene.find_all(program:log_lines(), "setup"))
    one:publish ""
    local handled = assert(program:wait_log({ msg = "handled" }, { timeout = PATIENCE_SECONDS }))
    assert.equal("set up", handled.state)
    assert.equal(0, #scene.find_all(program:log_lines(), "teardown"))
    assert(program:kill "TERM")
    assert.equal(0, program:wait(PATIENCE_SECONDS))
    local workers = {}
    for _, line in ipairs(scene.find_all(program:log_lines(), "teardown")) do
      workers[line.worker] = line.state
    end
    assert.same({ "set up", "set up", "set up" }, workers)
    assert.equal(3, #scene.find_all(program:log_lines(), "setup"))
  end)

  it("run at the end by --max-messages, too", function()
    local one = scene.new(LIVES)
    one:publish ""
    assert(scene.find(one:settle(1).logs, "teardown"))
  end)

  it("that fails at the end is told, and the end is one in order", function()
    local one = scene.new "return { handle = function() end, teardown = function() error 'on purpose' end }"
    one:publish ""
    local line = scene.find(one:settle(1).logs, "teardown of handler.lua failed: handler.lua:1: on purpose")
    assert.equal("error", line.level)
    assert.equal(0, one:waiting())
  end)
end)

describe("an error of a handler", function()
  after_each(cleanup)

  -- The reason in the log, and that the message came to the dead letters.
  local function reason_of(body)
    local one = scene.new("return function(data, message) " .. body .. "\nend")
    one:publish("kept", { message_id = "m" })
    local result = one:settle(1, "--retry-attempts", "1")
    local line = scene.find(result.logs, "message rejected: the handler failed and no attempt is left")
    assert.same({ "warning", "m", one.queue, 1, 1 },
      { line.level, line.id, line.queue, line.attempt, line.attempts })
    assert.equal("kept", one:dead_letters(1)[1].body)
    assert.equal(0, rabbit.queue_info(one.queue).messages)
    return line.reason
  end

  it("is in the log with its place and how it came there", function()
    local reason = reason_of "local function pay() error 'no money' end\n pay()"
    assert.matches("^handler.lua:1: no money\nstack traceback:\n", reason)
    assert.matches("handler.lua:1: in function 'pay'\n.*handler.lua:2: in function <handler.lua:1>", reason)
  end)

  it("may be any value", function()
    assert.matches("^handler.lua:1: attempt to index local 't' %(a nil value%)", reason_of "local t; t.x = 1")
    assert.matches("^said so\n", reason_of "error({ message = 'said so' })")
    assert.matches("^error value is a table\n", reason_of "error {}")
    assert.matches("^error value is nil\n", reason_of "error()")
    -- `next` is not compiled: where compiled code overflows the stack LuaJIT knows no place.
    assert.matches("^handler.lua:1: stack overflow\n",
      reason_of "local function f() return next {} or 1 + f() end f()")
    assert.matches("stack overflow",
      reason_of "local function f() return 1 + f() end f()")
    assert.matches("^handler.lua:1: x+$", reason_of "error(('x'):rep(1e6))")
  end)

  it("is a verdict that nobody knows", function()
    local advice = ': return true, false, "ack", "retry", "requeue" or "reject"'
    for returned, shown in pairs {
      ["42"] = "42 (a number)", ["{}"] = "a table", ["'maybe'"] = '"maybe" (a string)',
      ["print"] = "a function",
    } do
      assert.equal("handler.lua returned " .. shown .. advice, reason_of("return " .. returned))
    end
    assert.equal("handler.lua returned the delay \"soon\" (a string): give seconds, or a time like " ..
      "\"90s\", of at most 30 days",
      reason_of "return 'retry', 'soon'")
  end)
end)
