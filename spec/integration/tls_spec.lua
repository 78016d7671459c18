-- TLS: who is trusted, who is refused and why, logging in by certificate, that nothing stalls in the TLS
-- library's buffers; and that no password can be read anywhere.
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local scene = require "support.scene"
local unistd = require "posix.unistd"
local workspace = require "support.workspace"

local cleanup = require "support.cleanup"

local PATIENCE_SECONDS = 120
local tls = rabbit.tls

local HANDLER = [[
  local log = require "log"
  return function(data, message) log.info("handled", { id = message.id, bytes = #message.body }) end
]]

-- The program on the TLS port, until it was idle or failed. `flags` go before what is given here.
local function run(queue, flags)
  local space = workspace.new()
  local all = { broker = tls.url, queue = queue, ["exit-when-idle"] = "0s" }
  for name, value in pairs(flags or {}) do
    all[name] = value
  end
  local arguments = { "run", space:write("handler.lua", HANDLER) }
  for name, value in pairs(all) do
    arguments[#arguments + 1] = ("--%s=%s"):format(name, value)
  end
  return moonrabbit.run(unpack(arguments))
end

local function assert_connected(result)
  assert.equal(0, result.code, result.err)
  local purposes = {}
  for _, line in ipairs(scene.find_all(result.logs, "connected")) do
    assert.matches("^amqps://", line.broker)
    purposes[line.purpose] = true
  end
  assert.is_true(purposes.consuming) -- the connection for publishing may still be on its way
end

-- One error, with all the words in their order.
local function assert_refused(result, code, ...)
  local line = scene.find(result.logs, "moonrabbit stopped by an error")
  local at = 1
  for _, words in ipairs { ... } do
    local _, stop = line.error:find(words, at, true)
    assert(stop, ("%q is not in its place in: %s"):format(words, line.error))
    at = stop + 1
  end
  assert.same({ code, 0 }, { result.code, #scene.find_all(result.logs, "connected") })
end

-- A self-signed certificate, not one of the broker's authority; its key is beside it.
local function certificate(space, name, ...)
  local path = space.path .. "/" .. name
  local made = process.run { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
    "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", "/CN=" .. name, "-keyout", path .. ".key", "-out",
    path .. ".pem", ... }
  assert(made.code == 0, made.err)
  return path .. ".pem", path .. ".key"
end

describe("a broker with TLS", function()
  local queue

  before_each(function()
    queue = rabbit.queue "tls"
  end)

  after_each(cleanup)

  it("is trusted by the authority that broker.tls.ca names", function()
    assert_connected(run(queue, { ["broker-tls-ca"] = tls.ca }))
  end)

  it("is refused where nothing says whom to trust", function()
    assert_refused(run(queue), 1, "broker amqps://localhost", "its certificate is not trusted",
      "set broker.tls.ca")
  end)

  it("is refused where another authority is trusted", function()
    local other = certificate(workspace.new(), "other", "-nodes")
    assert_refused(run(queue, { ["broker-tls-ca"] = other }), 1, "broker amqps://localhost",
      "its certificate is not trusted", "set broker.tls.ca")
  end)

  it("is refused under a name that its certificate does not have", function()
    local elsewhere = tls.url:gsub("localhost", "127.1")
    assert_refused(run(queue, { broker = elsewhere, ["broker-tls-ca"] = tls.ca }), 1,
      "broker amqps://127.1:", "its certificate is for another host name", "use a name in the URL that")
  end)

  it("is taken as it is with broker.tls.verify = false", function()
    assert_connected(run(queue, { ["broker-tls-verify"] = false }))
    local elsewhere = tls.url:gsub("localhost", "127.1")
    local other = certificate(workspace.new(), "other", "-nodes")
    assert_connected(run(queue, { broker = elsewhere, ["broker-tls-verify"] = false }))
    assert_connected(run(queue, { ["broker-tls-verify"] = false, ["broker-tls-ca"] = other }))
  end)

  it("is not taken for one without, nor the other way round", function()
    local plain_port = tls.url:gsub(":%d+/", (":%d/"):format(rabbit.port))
    assert_refused(run(queue, { broker = plain_port, ["broker-tls-ca"] = tls.ca }), 1,
      ("broker amqps://localhost:%d/"):format(rabbit.port), "the TLS handshake failed",
      "is this the broker's TLS port (5671")
    local no_tls = rabbit.url:gsub(":%d+/", (":%d/"):format(tls.port))
    assert_refused(run(queue, { broker = no_tls }), 1, ("broker amqp://127.0.0.1:%d/"):format(tls.port),
      "it hung up", "does this port speak AMQP 0-9-1 (5672", "amqps://")
  end)

  it("is refused a wrong password", function()
    local wrong = tls.url:gsub(":guest@", ":wr0ng@")
    assert_refused(run(queue, { broker = wrong, ["broker-tls-ca"] = tls.ca }), 1, "refuses user guest",
      "check user and password")
  end)

  it("is not even tried where the files of broker.tls cannot be used", function()
    local space = workspace.new()
    local other, other_key = certificate(space, "other", "-nodes")
    local locked, locked_key = certificate(space, "locked", "-passout", "pass:s3cret")
    local no_pem = space:write("no.pem", "no certificate")
    local function refused(flags, ...)
      assert_refused(run(queue, flags), 2, ...)
    end
    refused({ ["broker-tls-ca"] = no_pem }, "broker.tls.ca", no_pem, "PEM file")
    refused({ ["broker-tls-ca"] = tls.ca, ["broker-tls-cert"] = tls.cert, ["broker-tls-key"] = other_key },
      "broker.tls", tls.cert, other_key, "belong together")
    refused({ ["broker-tls-ca"] = tls.ca, ["broker-tls-cert"] = other, ["broker-tls-key"] = no_pem },
      "broker.tls", other, no_pem, "PEM files")
    refused({ ["broker-tls-ca"] = tls.ca, ["broker-tls-cert"] = locked, ["broker-tls-key"] = locked_key },
      "broker.tls.key", locked_key, "passphrase", "give a key without")
  end)
end)

describe("EXTERNAL", function()
  local queue
  local ANOTHER = tls.url and tls.url:gsub("guest:guest@", "somebody:nothing@")

  before_each(function()
    queue = rabbit.queue "tls"
  end)

  after_each(cleanup)

  local function external(cert, key)
    return { broker = ANOTHER, ["broker-auth"] = "external", ["broker-tls-ca"] = tls.ca,
      ["broker-tls-cert"] = cert, ["broker-tls-key"] = key }
  end

  it("logs in as the user of the certificate, whoever the URL names", function()
    local one = scene.new(HANDLER)
    local arguments = { "run", "handler.lua" }
    for name, value in pairs(external(tls.cert, tls.key)) do
      arguments[#arguments + 1] = ("--%s=%s"):format(name, value)
    end
    arguments[#arguments + 1] = "--queue=" .. one.queue
    arguments[#arguments + 1] = { cwd = one.space.path }
    local program = moonrabbit.start(unpack(arguments))
    assert(program:wait_log({ msg = "consuming" }, { timeout = PATIENCE_SECONDS }))
    one:publish("x", { message_id = "m" })
    assert(program:wait_log({ msg = "handled", id = "m" }, { timeout = PATIENCE_SECONDS }))
    local rows = assert(rabbit.ctl("list_connections", "--quiet", "--no-table-headers", "user",
      "auth_mechanism", "ssl", "peer_cert_subject", "client_properties"))
    local row = rows:match(("[^\n]*moonrabbit pid %d\"[^\n]*"):format(program.pid))
    assert.matches("^guest\tEXTERNAL\ttrue\tCN=guest\t", row)
  end)

  it("is refused without a certificate", function()
    local result = run(queue, external())
    assert.equal(2, result.code)
    assert.matches('^moonrabbit: %-%-broker%-auth is "external".*needs an amqps:// URL, broker.tls.cert ' ..
      "and broker.tls.key\n$", result.err)
  end)

  it("is refused with a certificate that the broker does not trust", function()
    local result = run(queue, external(certificate(workspace.new(), "guest", "-nodes")))
    assert_refused(result, 1, "cannot log in", "it hung up", "does it want another client certificate",
      "broker.tls.cert")
  end)

  it("is refused with a certificate of nobody whom the broker knows", function()
    local authority = tls.ca:gsub("%.pem$", "")
    local cert, key = certificate(workspace.new(), "nobody", "-nodes", "-CA", tls.ca, "-CAkey",
      authority .. ".key")
    assert_refused(run(queue, external(cert, key)), 1, "refuses the certificate", "ACCESS_REFUSED",
      "the broker must know a user by the name in the certificate")
  end)
end)

describe("messages over TLS", function()
  after_each(cleanup)

  -- Without heartbeats nothing wakes the program but the socket: what is left in a buffer stays there.
  local function start(one, ...)
    local arguments = { "run", "handler.lua", "--broker", tls.url, "--broker-tls-ca", tls.ca,
      "--broker-heartbeat", "0", "--queue", one.queue, ... }
    arguments[#arguments + 1] = { cwd = one.space.path }
    return moonrabbit.start(unpack(arguments))
  end

  it("come through, 10,000 of them and then one of 5 MB", function()
    local one = scene.new "return function() end"
    assert(one.connection:publish_many("", one.queue, 10000, ("%d"):rep(50), { delivery_mode = 2 }))
    one:publish(("x"):rep(5000000))
    local program = start(one, "--prefetch=500", "--max-messages=10001")
    assert.equal(0, program:wait(PATIENCE_SECONDS), program:stderr():sub(-1000))
    local counts = scene.find(program:log_lines(), "consumer stopped")
    assert.same({ 10001, 0, 0 }, { counts.acked, counts.redelivered, counts.rejected })
    assert.equal(0, one:waiting())
  end)

  it("come through one by one, whatever their size is to records and frames", function()
    local one = scene.new(HANDLER)
    local program = start(one)
    assert(program:wait_log({ msg = "consuming" }, { timeout = PATIENCE_SECONDS }))
    for _, around in ipairs { 1, 16000, 16290, 16384, 32768, 131064, 262144, 1000000 } do
      for size = around - 1, around + 2 do
        one:publish(("x"):rep(size), { message_id = tostring(size) })
        local line = assert(program:wait_log({ msg = "handled", id = tostring(size) },
          { timeout = PATIENCE_SECONDS }))
        assert.equal(size, line.bytes)
      end
    end
  end)
end)

describe("a password", function()
  local USER, WRITTEN, READ = "moonrabbit-" .. unistd.getpid(), "s3cr%40t%2fw0rd", "s3cr@t/w0rd"

  setup(function()
    assert(rabbit.ctl("add_user", USER, READ))
    assert(rabbit.ctl("set_permissions", USER, ".*", ".*", ".*"))
  end)

  teardown(function()
    assert(rabbit.ctl("delete_user", USER))
  end)

  after_each(cleanup)

  local function read(pid, name)
    local file = assert(io.open(("/proc/%d/%s"):format(pid, name)))
    local text = file:read "*a"
    file:close()
    return text
  end

  local function assert_hidden(text, where)
    assert(not text:find(WRITTEN, 1, true) and not text:find(READ, 1, true) and not text:find "w0rd",
      where .. " tells the password: " .. text)
  end

  -- Runs with the password in the arguments or the environment, reloads, and stops.
  local function run_and_look(arguments, environment)
    local one = scene.new(HANDLER)
    table.insert(arguments, 1, "run")
    for _, argument in ipairs { "handler.lua", "--queue", one.queue, "--workers", "2", "--log-level", "debug",
      "--broker-tls-ca", tls.ca } do
      arguments[#arguments + 1] = argument
    end
    arguments[#arguments + 1] = { cwd = one.space.path, env = environment }
    local program = moonrabbit.start(unpack(arguments))
    assert(program:wait_log({ msg = "consuming" }, { timeout = PATIENCE_SECONDS }))
    local children = program:children()
    assert.equal(2, #children)
    assert_hidden(read(program.pid, "cmdline"), "the command line of the host")
    for _, pid in ipairs(children) do
      assert_hidden(read(pid, "cmdline"), "the command line of a worker")
      assert.equal("", read(pid, "environ"))
    end
    assert(program:kill "HUP")
    assert(program:wait_log({ msg = "reloaded: new workers" }, { timeout = PATIENCE_SECONDS }))
    assert(program:kill "TERM")
    assert.equal(0, program:wait(PATIENCE_SECONDS))
    assert_hidden(program:stderr() .. program:stdout(), "the log")
  end

  local function url()
    return (tls.url:gsub("guest:guest", (USER .. ":" .. WRITTEN):gsub("%%", "%%%%")))
  end

  it("on the command line is seen by nobody", function()
    run_and_look { "--broker", url() }
    run_and_look { "--broker=" .. url() }
  end)

  it("in the environment is seen by nobody else", function()
    run_and_look({}, { MOONRABBIT_BROKER = url() })
  end)

  it("is in no complaint, whatever is wrong", function()
    local queue = rabbit.queue "tls"
    for _, change in ipairs {
      { "localhost", "127.1" }, { ":%d+/", ":1/" }, { "/[^/]*$", "/nowhere" }, { "amqps", "http" },
      { "@localhost:%d+/", "/" }, { "localhost", "no such host" }, { ":%d+/", ":port/" }, { "amqps://", "" },
      { "moonrabbit%-", "nobody-" },
    } do
      local wrong = url():gsub(change[1], change[2])
      assert.not_equal(url(), wrong)
      local result = run(queue, { broker = wrong, ["broker-tls-ca"] = tls.ca, ["log-level"] = "debug" })
      assert.is_true(result.code == 1 or result.code == 2, result.err)
      assert_hidden(result.err .. result.out, "the complaint")
    end
  end)
end)
