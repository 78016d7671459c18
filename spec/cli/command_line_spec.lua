-- The command line through the program itself: commands, options, help, exit codes. No broker is needed.
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local workspace = require "support.workspace"

local HANDLER = "return function() end\n"

describe("the command line", function()
  local folder

  before_each(function()
    folder = workspace.new()
    folder:write("handler.lua", HANDLER)
  end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function run(...)
    local arguments = { ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    return moonrabbit.run(unpack(arguments))
  end

  -- Refused with exit code 2, nothing on standard output, and these lines behind the program's name.
  local function assert_refused(lines, ...)
    local result = run(...)
    assert.equal("moonrabbit: " .. table.concat(lines, "\nmoonrabbit: ") .. "\n", result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
  end

  local function assert_checked(consumer, ...)
    local result = run("check", ...)
    assert.equal("", result.err)
    assert.matches("\nok: consumer " .. consumer, result.out)
    assert.equal(0, result.code)
  end

  local function through_shell(script)
    return process.run({ "sh", "-c", (script:gsub("MOONRABBIT", moonrabbit.path)) }, { cwd = folder.path })
  end

  it("shows the short help on standard error when nothing is asked for", function()
    local result = run()
    assert.equal(2, result.code)
    assert.equal("", result.out)
    assert.matches("^moonrabbit runs message handlers", result.err)
  end)

  it("explains itself", function()
    local help = run("help")
    assert.equal(0, help.code)
    assert.equal("", help.err)
    for _, word in ipairs { "moonrabbit run ", "moonrabbit check ", "moonrabbit dead ", "moonrabbit version",
      "Exit codes: " } do
      assert.truthy(help.out:find(word, 1, true), word)
    end
    assert.same(help.out, run("--help").out)
    assert.same(help.out, run("-h").out)
  end)

  for _, command in ipairs { "run", "check", "dead", "doctor", "capture", "replay", "version" } do
    it("explains " .. command, function()
      local help = run("help", command)
      assert.equal(0, help.code)
      assert.matches("^moonrabbit " .. command, help.out)
      assert.same(help.out, run(command, "--help").out)
      assert.same(help.out, run(command, "-h").out)
    end)
  end

  it("keeps its help within 80 columns", function()
    for _, command in ipairs {
      "run", "check", "dead", "doctor", "capture", "replay", "test", "version", "help"
    } do
      for line in (run("help").out .. run("help", command).out):gmatch("[^\n]+") do
        assert.is_true(#line <= 80, line)
      end
    end
  end)

  it("names only options that there are in its help", function()
    local names = {}
    for name in run("help", "run").out:gmatch("  %-%-([%l-]+) %u+  ") do
      names[#names + 1] = name
    end
    assert.is_true(#names > 10)
    for _, name in ipairs(names) do
      assert.not_matches("there is no option", run("check", "--" .. name .. "=").err)
    end
  end)

  it("helps whoever asks for help among mistakes", function()
    local result = run("run", "one.lua", "two.lua", "-x", "--help")
    assert.equal(0, result.code)
    assert.matches("^moonrabbit run", result.out)
  end)

  it("tells its version and those of its libraries", function()
    local result = run("version")
    assert.equal(0, result.code)
    assert.matches("^moonrabbit %d+%.%d+%.%d+\nLuaJIT 2%.1%S*: [^\n]+\n" ..
      "libseccomp %d+%.%d+%.%d+: [^\n]+\nrabbitmq%-c %d+%.%d+%.%d+\nlibev %d+%.%d+\n$", result.out)
    assert.equal(result.out, run("--version").out)
  end)

  -- Which of both it is depends on how LuaJIT was built; that it could be tried does not.
  it("tells what ends a compiled loop here", function()
    local out = run("version").out
    local by_hook = out:find(": a hook ends compiled loops, at limits.deadline\n", 1, true)
    local by_kill = out:find(": no hook ends compiled loops, but a kill, at limits.deadline + limits.grace\n",
      1, true)
    assert.is_true((by_hook or by_kill) ~= nil, out)
  end)

  it("names the command that was meant", function()
    assert_refused({ "there is no command rnu: did you mean run?" }, "rnu")
    assert_refused({ "there is no command chekc: did you mean check?" }, "chekc")
    assert_refused({ "there is no command demo: moonrabbit help lists them" }, "demo")
    assert_refused({ "there is no command : moonrabbit help lists them" }, "")
    assert_refused({ "there is no command demo: moonrabbit help lists them" }, "help", "demo")
    assert_refused({ "there is no command before the handler: did you mean moonrabbit run handler.lua?" },
      "handler.lua", "--queue", "q")
    assert_refused({ "a command goes first: did you mean moonrabbit run --queue?" }, "--queue", "q")
    assert_refused({ "version takes nothing more, and 5 is something more" }, "version", "5")
  end)

  it("tells every problem at once", function()
    assert_refused({
      'there is no option "--prefech": did you mean --prefetch?',
      '--workers is "0": give a whole number from 1 to 256',
      'the handler on the command line is "none.lua": none.lua cannot be read: No such file or directory',
    }, "run", "none.lua", "--queue=q", "--prefech=3", "--workers=0")
  end)

  it("refuses what is no option, and what is too much", function()
    assert_refused({ "there is no option -x: only -c FILE and -h are that short" }, "run", "-x")
    assert_refused({ "one handler is enough on the command line, and b.lua is a second: write further " ..
      "ones into the configuration file" }, "run", "a.lua", "b.lua")
    assert_refused({ "-c names no file: write -c FILE" }, "run", "-c")
    assert_refused({ "-c is given twice: give one configuration file, not also b" }, "run", "-c", "a",
      "--config=b")
  end)

  it("takes a value behind a blank or an equals sign", function()
    assert_checked("q runs handler.lua on queue q: 3 workers, prefetch 7", "handler.lua", "--queue", "q",
      "--workers", "3", "--prefetch=7")
    assert_checked("a=b runs handler.lua on queue a=b", "--queue=a=b", "handler.lua")
  end)

  it("takes no option for the value of another", function()
    local no_value = { "--queue has no value: write --queue VALUE, or --queue=VALUE" }
    assert_refused(no_value, "check", "handler.lua", "--queue", "--workers", "3")
    assert_refused(no_value, "check", "handler.lua", "--queue")
    assert_refused({ '--workers is "-1": give a whole number from 1 to 256' }, "check", "handler.lua",
      "--queue", "q", "--workers", "-1")
    assert_checked("%-%-workers runs handler.lua", "handler.lua", "--queue=--workers")
    assert_checked("%- runs handler.lua", "handler.lua", "--queue", "-")
  end)

  it("lets switches stand alone", function()
    assert_checked("q runs handler.lua", "--queue", "q", "--declare-durable", "handler.lua")
    assert_checked("q runs handler.lua", "--queue", "q", "--declare-durable=false", "handler.lua")
    assert_refused({ "--broker-tls-verify is true, but no broker URL begins with amqps://, so nothing " ..
      "is encrypted: write amqps://, or leave this out" }, "check", "--queue", "q", "--broker-tls-verify",
      "handler.lua")
  end)

  it("ends the options at --", function()
    folder:write("-odd.lua", HANDLER)
    assert_checked("q runs %-odd.lua", "--queue", "q", "--", "-odd.lua")
    local result = run("check", "--", "--queue")
    assert.equal(2, result.code)
    assert.matches('^moonrabbit: the handler on the command line is "%-%-queue": %-%-queue', result.err)
  end)

  it("takes the configuration file in any writing", function()
    folder:write("conf/mr.lua", 'return { consumers = { { queue = "q", handler = "own.lua" } } }')
    folder:write("conf/own.lua", HANDLER)
    assert_checked("q runs conf/own.lua", "-c", "conf/mr.lua")
    assert_checked("q runs conf/own.lua", "-cconf/mr.lua")
    assert_checked("q runs conf/own.lua", "--config", "conf/mr.lua")
    assert_checked("q runs conf/own.lua", "--config=conf/mr.lua")
  end)

  it("listens to the environment, and more to options", function()
    local settings = { cwd = folder.path, env = { MOONRABBIT_QUEUE = "e", MOONRABBIT_PREFETCH = "4" } }
    local result = moonrabbit.run("check", "handler.lua", "--prefetch", "5", settings)
    assert.matches("ok: consumer e runs handler.lua on queue e: 1 worker, prefetch 5\n", result.out)
  end)

  it("says when nobody can read what it prints", function()
    for _, command in ipairs { "version", "help run", "check handler.lua --queue q" } do
      local result = through_shell("MOONRABBIT " .. command .. " >/dev/full")
      assert.equal(1, result.code)
      assert.equal("moonrabbit: standard output does not take what is written to it\n", result.err)
    end
  end)

  it("runs without any standard descriptor", function()
    local result = through_shell("MOONRABBIT check handler.lua --queue q <&- >&- 2>&-; echo $?")
    assert.equal("0\n", result.out)
  end)
end)

describe("a password on the command line", function()
  local folder

  before_each(function()
    folder = workspace.new()
    folder:write("handler.lua", HANDLER)
  end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function read(path)
    local file = assert(io.open(path, "r"))
    local text = file:read("*a")
    file:close()
    return text
  end

  -- Nobody listens on port 1: the program keeps trying.
  local function start(...)
    local arguments = { "run", "handler.lua", "--queue", "q", "--broker-wait", "60s", ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    local program = moonrabbit.start(unpack(arguments))
    assert(program:wait_log { msg = "connecting again soon" })
    return program
  end

  local function assert_hidden(program)
    local words = read("/proc/" .. program.pid .. "/cmdline")
    assert.not_matches("s3cret", words)
    for _, child in ipairs(program:children()) do
      assert.not_matches("s3cret", read("/proc/" .. child .. "/cmdline"))
      assert.not_matches("s3cret", read("/proc/" .. child .. "/environ"))
    end
    assert.not_matches("s3cret", program:stderr())
    return (words:gsub("%z", " "))
  end

  it("is hidden from ps, from workers, and from the log", function()
    local words = assert_hidden(start("--broker", "amqp://user:s3cret@127.0.0.1:1"))
    assert.matches("%-%-broker%-wait 60s %-%-broker amqp://user:%*+@127.0.0.1:1 $", words)
  end)

  it("is hidden in every writing", function()
    assert_hidden(start("--broker=amqp://user:s3cret@127.0.0.1:1"))
    assert_hidden(start("--broker-urls", "amqp://user:s3cret@127.0.0.1:1,amqp://other:s3cret@127.0.0.1:1"))
  end)

  it("stays out of complaints", function()
    local result = moonrabbit.run("run", "handler.lua", "--queue", "q", "--broker", "amqp://user:s3cret",
      "amqp://u:s3cret@h", "-amqp://u:s3cret@h", "--amqp://u:s3cret@h", { cwd = folder.path })
    assert.equal(2, result.code)
    assert.not_matches("s3cret", result.err)
    result = moonrabbit.run("user:s3cret@host", { cwd = folder.path })
    assert.equal(2, result.code)
    assert.not_matches("s3cret", result.err)
  end)
end)
