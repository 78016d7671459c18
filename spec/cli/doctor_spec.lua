-- `moonrabbit doctor` without a broker: its command line, and whatever may answer in place of the management
-- API. Each costs bounded time and memory and is said in one sentence; all else is looked at all the same.
local cjson = require "cjson"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local root = require "support.root"
local workspace = require "support.workspace"

local NOBODY = "amqp://guest:secret@localhost:1/%2f"
local REFUSED = "broker amqp://localhost:1/%2f: cannot connect: Connection refused; is it running there, " ..
  "and is the port right?"
local IS_ASAN = moonrabbit.path:find("asan", 1, true) ~= nil
local PEAK_BYTES_MAX = (IS_ASAN and 900 or 120) * 1024 * 1024

describe("doctor", function()
  local folder

  before_each(function() folder = workspace.new() end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function run(arguments, environment)
    local all = { "doctor", "--broker", NOBODY, unpack(arguments) }
    all[#all + 1] = { cwd = folder.path, env = environment }
    return moonrabbit.run(unpack(all))
  end

  local function assert_refused(sentence, ...)
    local result = run { ... }
    assert.equal("moonrabbit: " .. sentence .. "\n", result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
  end

  it("refuses what makes no sense", function()
    assert_refused("--fail-on always: give info, warning or critical", "--fail-on", "always")
    assert_refused("--fail-on has no value: write --fail-on warning, for one", "--fail-on")
    assert_refused("--json takes no value", "--json=yes")
    assert_refused("there is no option \"--bare\": 'moonrabbit help doctor' says which there are", "--bare=")
    assert_refused('--broker-management is "localhost:15672": begin it with http://, or with https:// for ' ..
      "TLS", "--broker-management", "localhost:15672")
    assert_refused('--management is "http://u:***@h:1/?a": write a blank as %20, and nothing behind a ? or #',
      "--management", "http://u:secret@h:1/?a")
    assert_refused('--broker-management is "http://": name the host, such as http://localhost',
      "--broker-management", "http://")
  end)

  it("takes the management URL from the environment and the file, too", function()
    folder:write("moonrabbit.lua", 'return { broker = { management = "http://u:secret@localhost:1" } }')
    local result = run({}, { MOONRABBIT_MANAGEMENT = "http://u:secret@localhost:2" })
    assert.matches("moonrabbit: management http://localhost:2: ", result.err)
    result = run {}
    assert.matches("moonrabbit: management http://localhost:1: ", result.err)
    assert.not_matches("secret", result.err .. result.out)
    assert.equal(1, result.code)
  end)

  it("says that there is no broker, and looks at all else", function()
    folder:write("handler.lua", "return function() end")
    local result = run { "handler.lua", "--queue", "orders", "--json", "--broker-heartbeat", "0" }
    assert.equal("moonrabbit: " .. REFUSED .. "\n", result.err)
    assert.equal(1, result.code)
    local report = cjson.decode(result.out)
    assert.same({ what = "the broker by AMQP", why = REFUSED }, report.not_looked_at[1])
    assert.matches("^limits of queues; connections", report.not_looked_at[2].what)
    local found = {}
    for _, finding in ipairs(report.findings) do found[finding.rule] = finding end
    assert.equal("warning", found["heartbeat-off"].severity)
    assert.equal("consumer orders", found["no-dead-letter"].object)
    assert.is_true(report.counts.warning >= 1)
  end)

  it("finds a handler that does not load", function()
    folder:write("handler.lua", "return function() end end")
    local result = run { "handler.lua", "--queue", "orders" }
    assert.matches("critical  application  the handlers: .*handler.lua:1: 'then' expected", (result.out:gsub(
      "%s+", " "):gsub("critical application", "critical  application "):gsub("<eof>", "then")))
  end)

  it("keeps its lines within a hundred columns, but those to copy", function()
    folder:write("handler.lua", "return function() end")
    local out = run({ "handler.lua", "--queue", ("q"):rep(90), "--prefetch", "5000" }).out
    assert.matches("SEVERITY  LAYER        FINDING\n", out)
    for line in out:gmatch("[^\n]+") do
      local long = #line > 100 and not line:find("^" .. (" "):rep(30) .. "%S")
      assert.is_false(long and line:find("%S%s+%S") ~= nil and not line:find(("q"):rep(90), 1, true), line)
    end
  end)

  -- The management API.

  local function start_answerer(kind)
    local server = process.start({ "luajit", root .. "/spec/support/answerer.lua", kind })
    local port = assert(server:wait_for "^%d+$")
    return server, port
  end

  -- Runs it against such an answerer; the program when it has ended, and what it said of the management.
  local function ask(kind, ...)
    local server, port = start_answerer(kind)
    local url = ("http://guest:secret@127.0.0.1:%s"):format(port)
    local program = moonrabbit.start("doctor", "--json", "--broker", NOBODY, "--management", url, ...)
    assert.equal(1, program:wait(60))
    local name = ("management http://127%%.0%%.0%%.1:%s"):format(port)
    local _, sentence = program:stderr():match("^([^\n]+)\nmoonrabbit: " .. name .. "([^\n]*)\n$")
    assert.not_matches("secret", program:stderr() .. program:stdout())
    assert.is_true(program.usage.peak_rss < PEAK_BYTES_MAX, program.usage.peak_rss)
    return { said = sentence, report = cjson.decode(program:stdout()), server = server,
      text = program:stderr() }
  end

  local function assert_said(kind, sentence, ...)
    local answer = ask(kind, ...)
    assert.matches(sentence, answer.said or answer.text, nil, true)
    assert.equal("the broker's management", answer.report.not_looked_at[#answer.report.not_looked_at].what)
    return answer
  end

  it("says that nobody listens there", function()
    local result = run { "--management", "http://guest:secret@127.0.0.1:1" }
    assert.matches("management http://127.0.0.1:1: Failed to connect", result.err, nil, true)
    assert.matches("is the management plugin enabled (rabbitmq-plugins enable rabbitmq_management)",
      result.err, nil, true)
    assert.equal(1, result.code)
  end)

  it("asks no proxy, which would see the password", function()
    local server, port = start_answerer "other"
    local result = run({ "--management", "http://guest:secret@127.0.0.1:1" },
      { http_proxy = "http://127.0.0.1:" .. port, all_proxy = "http://127.0.0.1:" .. port })
    assert.matches("Failed to connect to 127.0.0.1 port 1", result.err, nil, true)
    assert.matches("^%d+\n$", server:stdout())
  end)

  it("says that what answers is no management API", function()
    assert_said("garbage", "; is this RabbitMQ's management")
    assert_said("html", " does not answer in JSON: is this RabbitMQ's management?")
    assert_said("number", " does not answer in JSON: is this RabbitMQ's management?")
    assert_said("other", " is not RabbitMQ's: its overview names no version")
    assert_said("error", " answers with status 500: is this RabbitMQ's management?")
  end)

  it("follows no redirect", function()
    local answer = assert_said("redirect", " answers with a redirect (302), which is not followed: give the")
    assert.matches("^%d+\n/api/overview with a password\n$", answer.server:stdout())
  end)

  it("takes so much of an answer and no more", function()
    assert_said("huge", ": the answer to /api/overview is larger than 4MiB")
  end)

  it("waits so long for an answer and no longer", function()
    local late = ": no answer within 300ms (broker.io_timeout); is the management plugin enabled"
    assert_said("silent", late, "--broker-io-timeout", "300ms")
    assert_said("drip", late, "--broker-io-timeout", "300ms")
    assert_said("announced", "is this RabbitMQ's management", "--broker-io-timeout", "300ms")
  end)

  it("takes values of the kinds that they should be, and no others", function()
    local answer = ask("mean")
    assert.equal("moonrabbit: " .. REFUSED .. "\n", answer.text)
    local found = {}
    for _, finding in ipairs(answer.report.findings) do
      if finding.layer ~= "system" then found[#found + 1] = finding.rule .. " " .. finding.object end
    end
    table.sort(found)
    local named = "queue \\x1b[2Jred\\x00"
    assert.same({ "no-bound " .. named, "no-bound queue b", "no-consumers " .. named }, found)
    assert.not_matches("%c", (table.concat(answer.report.looked_at)))
  end)

  it("is not hurt by deep answers", function()
    local answer = ask("deep")
    assert.equal("moonrabbit: " .. REFUSED .. "\n", answer.text)
    assert.matches("does not answer in JSON", answer.report.not_looked_at[2].why, nil, true)
  end)
end)
