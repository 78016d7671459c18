-- The status listener: what it says is what happened, and whoever asks, however badly, hurts nothing.
local cjson = require "cjson"
local consumer = require "support.consumer"
local http = require "support.http"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local project = require "support.project"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

local ADVICE = '(give status.listen another address, or "off")'
local LABELS = { consumer = true, queue = true, worker = true, verdict = true, reason = true, le = true,
  version = true }

-- Ends in every way there is, by what the message asks for.
local WAYS = [[
  return function(order, message)
    local way = type(order) == "table" and order.way
    log.info("handled", { id = message.id, way = way or "none" })
    if way == "retry" and message.attempt == 1 then return false end
    if way == "requeue" and message.attempt == 1 then return "requeue" end
    if way == "reject" then return "reject", "as told" end
    if way == "error" then error "as told" end
    if way == "memory" then local all = {} for i = 1, 1e9 do all[i] = ("x"):rep(1e5) .. i end end
    if way == "time" then while true do load "return 1" () end end
    if way == "death" then ("a"):rep(40):find(("a*"):rep(40) .. "b") end
    if way == "publish" then message:publish("", message.headers.to, "hello") end
  end]]

describe("the status listener", function()
  after_each(require "support.cleanup")

  -- Where the program listens.
  local function address_of(program)
    local line = assert(program:wait_log({ msg = "status listens" }, { timeout = consumer.PATIENCE }))
    return line.address
  end

  local function start(handler, flags, name)
    local queue = name or rabbit.queue "status"
    flags = flags or {}
    flags["status-listen"] = flags["status-listen"] or "127.0.0.1:0"
    flags["memory-interval"] = "100ms"
    local program = consumer.start(queue, handler, flags)
    return program, address_of(program), queue
  end

  local function get(address, path, code)
    local response = assert(http.get(address, path))
    assert.equal(code or 200, response.code, response.body)
    return response.body
  end

  local function status_of(address)
    return cjson.decode(get(address, "/status"))
  end

  -- Asks until the first consumer, or the whole, is as it should be.
  local function wait_status(address, condition)
    local last
    local found, reason = rabbit.eventually(function()
      last = status_of(address)
      return condition(last.consumers[1], last)
    end, consumer.PATIENCE)
    if not found then error(reason .. "; the last: " .. cjson.encode(last), 2) end
    return last
  end

  local function assert_promtool_likes(text)
    local result = process.run({ "promtool", "check", "metrics" }, { stdin = text })
    assert.same({ 0, "", "" }, { result.code, result.out, result.err })
  end

  local function assert_labels(values)
    for series in pairs(values) do
      for label in (series:match("{(.*)}$") or ""):gmatch('(%w+)="') do
        assert.is_true(LABELS[label], series)
      end
    end
  end

  local function publish(queue, bodies, headers)
    local connection = assert(rabbit.connect())
    assert(connection:confirm_select())
    for i, body in ipairs(bodies) do
      assert(connection:publish("", queue, body, { content_type = "application/json",
        message_id = tostring(i), headers = headers }))
    end
    assert(connection:close())
  end

  local function bodies_of(ways)
    local bodies = { "this is no JSON" }
    for way, count in pairs(ways) do
      for _ = 1, count do bodies[#bodies + 1] = cjson.encode { way = way } end
    end
    return bodies
  end

  -- A worker that has just been started anew has none yet.
  local function have_heaps(workers)
    return #workers == 2 and workers[1].heap > 0 and workers[2].heap > 0
  end

  it("tells exactly what became of each delivery", function()
    local dead = rabbit.queue "status-dead"
    local program, address, queue = start(WAYS, { ["dead-letter"] = dead, ["retry-attempts"] = 2,
      ["retry-delay"] = 0, ["limits-memory"] = "4MiB", ["recycle-memory"] = "3MiB",
      ["limits-deadline"] = "2s", ["limits-grace"] = "500ms", workers = 2, prefetch = 5 })
    local other = rabbit.queue "status-other"
    publish(queue, bodies_of { ack = 20, retry = 1, requeue = 1, reject = 1, error = 1, memory = 1, time = 1,
      death = 1, publish = 3 }, { to = other })
    local status = wait_status(address, function(it)
      return it.acked == 25 and it.dead_letters == 6 and it.unacked == 0 and have_heaps(it.workers) and
        it.recycles.out_of_memory == 2 and it.recycles.out_of_time == 2
    end)
    local one = status.consumers[1]
    assert.same({ ack = 25, retry = 1, requeue = 1, reject = 1, error = 2, undecodable = 1, out_of_memory = 2,
      out_of_time = 2, returned = 0, crashed = 2 }, one.verdicts)
    assert.same({ 37, 5, 1, 6, 0, 2, 2 }, { one.delivered, one.retries, one.requeued, one.dead_letters,
      one.rejected, one.deadline_kills, one.worker_deaths })
    assert.equal(37 - one.verdicts.crashed, one.duration.count)
    assert.same({ 5 + 6 + 3, 5 + 6 + 3, 0 },
      { status.publishing.published, status.publishing.confirmed, status.publishing.returned })

    local text = get(address, "/metrics")
    local values = http.samples(text)
    local function value(name, labels)
      local series = ('moonrabbit_%s{consumer="%s",queue="%s"%s}'):format(name, queue, queue, labels or "")
      assert.is_number(values[series], series)
      return values[series]
    end
    for verdict, count in pairs(one.verdicts) do
      assert.equal(count, value("verdicts_total", (',verdict="%s"'):format(verdict)))
    end
    assert.same({ 37, 35, 35, 5, 6, 2, 0 }, { value "deliveries_total",
      value "handler_duration_seconds_count", value("handler_duration_seconds_bucket", ',le="+Inf"'),
      value "retries_total", value "dead_letters_total", value "deadline_kills_total", value "unacked" })
    assert.equal(2, value("recycles_total", ',reason="out_of_time"'))
    assert.equal(14, values["moonrabbit_confirmed_total"])
    assert.is_true(value("worker_heap_bytes", ',worker="2"') > 0)
    assert_promtool_likes(text)
    assert_labels(values)

    local counts = consumer.stop(program)
    assert.same({ 37, 25, 5, 1, 6, 2 }, { counts.delivered, counts.acked, counts.retried, counts.requeued,
      counts.dead_letters, counts.worker_deaths })
  end)

  it("has the families that monitoring.md says, with their types", function()
    local program, address = start(consumer.TELL)
    local _, types = http.samples(get(address, "/metrics"))
    local documented = {}
    local page = project.read "runtime/doc/monitoring.md"
    for name, kind in page:gmatch("\n| `(moonrabbit_[%w_]+)` | (%a+) |") do
      documented[name] = kind
    end
    assert.same(documented, types)
    consumer.stop(program)
  end)

  it("passes promtool's check under load, and counts without a loss", function()
    local dead = rabbit.name "status-dead"
    local messages = moonrabbit.path:find("asan", 1, true) and 3000 or 20000
    local program, address, queue = start("return function() end", { prefetch = 200, workers = 2,
      ["recycle-messages"] = 500, ["dead-letter"] = dead })
    consumer.fill(queue, messages)
    local scrapes = 0
    wait_status(address, function(one)
      assert_promtool_likes(get(address, "/metrics"))
      scrapes = scrapes + 1
      return one.acked == messages
    end)
    local status = wait_status(address, function(it) return it.queue_depth == 0 and it.unacked == 0 end)
    local one = status.consumers[1]
    assert.same({ messages, messages, messages, 1 },
      { one.delivered, one.verdicts.ack, one.duration.count, one.queue_consumers })
    assert.is_true(scrapes >= 1)
    assert.is_true(one.recycles.messages >= messages / 500 - 2)
    assert.is_true(#one.recycles.recent <= 16 and one.recycles.recent[1].reason == "messages")
    local total = 0
    for _, worker in ipairs(one.workers) do
      total = total + worker.messages
      assert.is_true(worker.heap > 0 and worker.heap_peak >= worker.heap and worker.rss > 0)
    end
    assert.equal(messages, total)
    consumer.stop(program)
  end)

  it("answers what there is to be found, and to HEAD, with safe headers", function()
    local program, address = start(consumer.TELL)
    consumer.wait_consuming(program)
    assert.equal("alive\n", get(address, "/healthz"))
    assert.is_true(rabbit.eventually(function() return http.get(address, "/readyz").body == "ready\n" end))
    for path, kind in pairs { ["/"] = "text/html", ["/metrics"] = "text/plain; version=0.0.4",
      ["/status"] = "application/json", ["/healthz?x=1"] = "text/plain", ["/readyz"] = "text/plain" } do
      local whole, head = assert(http.get(address, path)), assert(http.get(address, path, "HEAD"))
      assert.same({ 200, 200, "" }, { whole.code, head.code, head.body })
      assert.equal(#whole.body, tonumber(whole.headers["content-length"]))
      assert.is_true(tonumber(head.headers["content-length"]) > 0)
      assert.equal(1, (whole.headers["content-type"]:find(kind, 1, true)))
      assert.same({ "nosniff", "no-store" },
        { whole.headers["x-content-type-options"], whole.headers["cache-control"] })
      assert.is_truthy(whole.headers["content-security-policy"]:find("default-src 'none'", 1, true))
      assert.is_nil(whole.body:find("guest:", 1, true))
    end
    assert.equal(project.read "scripts/status.html", get(address, "/"))
    get(address, "/nothing", 404)
    get(address, "/metrics/", 404)
    local refused = assert(http.get(address, "/", "POST"))
    assert.same({ 405, "GET, HEAD" }, { refused.code, refused.headers.allow })
    consumer.stop(program)
  end)

  it("is there before the broker is, and writes names of any bytes so that all can be read", function()
    local name = 'o"r\\ders\255\195\164'
    local program = moonrabbit.start("run", consumer.write_handler(workspace.new(), consumer.TELL), "--queue",
      name, "--broker", "amqp://user:s3cret@127.0.0.1:1/%2f", "--broker-wait", "1h", "--status-listen",
      "127.0.0.1:0")
    local address = address_of(program)
    get(address, "/healthz")
    assert.equal("not ready: the consuming connection is down\n",
      (get(address, "/readyz", 503):gsub("the program starts", "the consuming connection is down")))
    local text = get(address, "/status")
    local status = cjson.decode(text)
    assert.equal('o"r\\ders\239\191\189ä', status.consumers[1].queue)
    assert.same({ cjson.null, false }, { status.consumers[1].queue_depth, status.ready })
    local metrics = get(address, "/metrics")
    assert_promtool_likes(metrics)
    assert.is_truthy(metrics:find('queue="o\\"r\\\\ders\239\191\189ä"', 1, true))
    for _, answer in ipairs { text, metrics } do assert.is_nil(answer:find("s3cret", 1, true)) end
    program:kill "TERM"
    program:wait(consumer.PATIENCE)
  end)

  it("says that the program is not ready while the broker is gone, and counts its return", function()
    local program, address, queue = start(consumer.TELL)
    local function ready()
      return http.get(address, "/readyz").code == 200
    end
    assert.is_true(rabbit.eventually(ready, consumer.PATIENCE))
    rabbit.stop_broker()
    local gone = rabbit.eventually(function()
      local response = http.get(address, "/readyz")
      return response.code == 503 and response
    end, consumer.PATIENCE)
    assert.is_truthy(gone.body:find("^not ready: the %a+ connection is down\n$"))
    get(address, "/healthz")
    rabbit.start_broker()
    assert.is_true(rabbit.eventually(ready, consumer.PATIENCE))
    consumer.fill(queue, 5)
    local status = wait_status(address, function(one) return one.acked == 5 and one.queue_depth == 0 end)
    for _, connection in ipairs(status.connections) do
      assert.same({ "up", 1 }, { connection.state, connection.reconnects })
    end
    consumer.stop(program)
  end)

  it("stays through a reload, and so do the counts", function()
    local program, address, queue = start(consumer.TELL)
    consumer.fill(queue, 5)
    wait_status(address, function(one) return one.acked == 5 end)
    local before = status_of(address).consumers[1].workers[1].pid
    assert(program:kill "HUP")
    assert(program:wait_log({ msg = "reloaded" }, { timeout = consumer.PATIENCE }))
    consumer.fill(queue, 5, { from = 6 })
    local status = wait_status(address, function(one) return one.acked == 10 end)
    assert.equal(1, #status.consumers)
    assert.are_not.equal(before, status.consumers[1].workers[1].pid)
    consumer.stop(program)
  end)

  it("tells of alarms", function()
    local dead = rabbit.queue "status-dead"
    local queue = rabbit.queue("status", { arguments = { ["x-max-length"] = 10, ["x-overflow"] =
      "reject-publish" } })
    local program, address = start([[
      return function(order)
        if order.id == 1 then spin(1e9) end
        return "reject"
      end]], { ["dead-letter"] = dead, prefetch = 1, ["memory-warning"] = "1MiB",
      ["memory-critical"] = "100GiB", ["limits-deadline"] = "20m", ["declare-durable"] = true,
      ["declare-max-length"] = 10 }, queue)
    local function raised(status)
      local names = {}
      for _, alarm in ipairs(status.alarms) do
        assert.is_true(#alarm.text > 0 and alarm.since <= status.time)
        names[alarm.name] = alarm
      end
      return names
    end
    local alarm = raised(wait_status(address, function(_, status) return raised(status).memory end))
    assert.equal(cjson.null, alarm.memory.consumer)
    local text = get(address, "/metrics")
    assert.equal(1, http.samples(text)['moonrabbit_alarm{reason="memory"}'])
    assert.equal(0, http.samples(text)['moonrabbit_alarm{reason="queue_full"}'])

    consumer.fill(dead, 150)
    wait_status(address, function(one) return one.dead_letter_depth == 150 end)
    consumer.fill(dead, 5) -- the first look may have found the 150 there
    alarm = raised(wait_status(address, function(_, status) return raised(status).dead_letters end))
    assert.equal(queue, alarm.dead_letters.consumer)
    assert(program:wait_log { msg = "dead letters pile up", level = "warning" })

    consumer.fill(queue, 9)
    alarm = raised(wait_status(address, function(_, status) return raised(status).queue_full end))
    assert.equal(queue, alarm.queue_full.consumer)
    assert(program:wait_log { msg = "the queue comes near its declare.max_length", level = "warning" })
    program:kill "KILL"
  end)

  it("tells for how long the broker has blocked", function()
    -- The broker says so to who publishes.
    local program, address, queue = start("return function() return 'retry', 0.1 end",
      { ["retry-attempts"] = 1000, ["retry-jitter"] = 0 })
    consumer.wait_consuming(program)
    publish(queue, { "1" })
    wait_status(address, function(one) return one.retries > 1 end)
    rabbit.raise_memory_alarm()
    local status = wait_status(address, function(_, it)
      return it.connections[2].blocked and it.alarms[1]
    end)
    assert.equal("blocked", status.alarms[1].name)
    rabbit.end_memory_alarm()
    status = wait_status(address, function(_, it)
      return not it.connections[2].blocked and not it.alarms[1]
    end)
    assert.is_true(status.connections[2].blocked_seconds > 0)
    assert.equal(status.connections[2].blocked_seconds,
      http.samples(get(address, "/metrics"))["moonrabbit_blocked_seconds_total"])
    consumer.stop(program)
  end)

  it("is not disturbed by a queue for dead letters that is not there", function()
    local dead = rabbit.name "status-dead"
    local program, address, queue = start("return function() return 'reject' end", { ["dead-letter"] = dead })
    wait_status(address, function(one) return one.queue_depth == 0 end)
    assert.equal(cjson.null, status_of(address).consumers[1].dead_letter_depth)
    publish(queue, { "1", "2", "3" })
    wait_status(address, function(one) return one.dead_letter_depth == 3 end)
    local counts = consumer.stop(program)
    assert.same({ 3, 0 }, { counts.dead_letters, counts.redelivered })
    assert.is_nil((program:stderr():find("closed the channel", 1, true)))
  end)

  describe("with bad clients", function()
    local function idle(address, count, words)
      local connections = {}
      for i = 1, count do
        connections[i] = http.connect(address)
        if connections[i] and words then connections[i]:send(words) end
      end
      return connections
    end

    it("answers all others, and messages go on", function()
      local program, address, queue = start(consumer.TELL, { prefetch = 50 })
      consumer.wait_consuming(program)
      idle(address, 200)                                     -- say nothing
      idle(address, 20, "G")                                 -- begin
      idle(address, 20, "GET / HTTP/1.1\r\nHost: x\r\n")     -- go on
      idle(address, 20, "\22\3\1\2\0\1\0\1\252\3\3garbage\0\255\n\n")
      idle(address, 20, ("GET /metrics HTTP/1.1\r\n\r\n"):rep(200)) -- and do not read
      idle(address, 5, "GET /" .. ("a"):rep(9000))
      consumer.fill(queue, 500)
      consumer.wait_handled(program, 500)
      assert.equal("alive\n", get(address, "/healthz"))
      local sockets = 0
      for _, target in pairs(select(2, process.fds(program.pid))) do
        sockets = sockets + (target:find("^socket:") and 1 or 0)
      end
      assert.is_true(sockets <= 64 + 8, sockets .. " sockets")
      local counts = consumer.stop(program)
      assert.same({ 500, 500, 0 }, { counts.delivered, counts.acked, counts.redelivered })
    end)

    it("says what is wrong", function()
      local program, address = start(consumer.TELL)
      for request, code in pairs {
        ["\0\1\2\3"] = 400,
        ["hello\n\n"] = 400,
        ["GET / HTTP/2.0\r\n\r\n"] = 400,
        ["GET /healthz HTTP/1.0\n\n"] = 200,
        ["GET http://localhost/healthz HTTP/1.1\r\n\r\n"] = 200,
        ["DELETE /status HTTP/1.1\r\n\r\n"] = 405,
        ["GET / HTTP/1.1\r\nX: " .. ("x"):rep(8200) .. "\r\n\r\n"] = 431,
      } do
        assert.equal(code, assert(http.ask(address, request)).code, request:sub(1, 40))
      end
      consumer.stop(program)
    end)

    -- A page whose own name was made to lead to this machine asks by that name (DNS rebinding).
    it("tells nothing to who asks for another host, where it listens for this machine alone", function()
      local program, address = start(consumer.TELL)
      for host, code in pairs { ["evil.example"] = 421, ["evil.example:9464"] = 421, [address] = 200,
        ["localhost:9464"] = 200, ["[::1]:1"] = 200 } do
        local answer = assert(http.ask(address, ("GET /status HTTP/1.1\r\nHost: %s\r\n\r\n"):format(host)))
        assert.equal(code, answer.code, host)
        assert.equal(code == 421, answer.body:find("ask it as localhost", 1, true) ~= nil)
      end
      consumer.stop(program)
      local queue = rabbit.queue "status"
      program = consumer.start(queue, consumer.TELL, { ["status-listen"] = "0.0.0.0:0" })
      local _, line = consumer.wait_consuming(program), assert(program:wait_log { msg = "status listens" })
      local port = line.address:match ":(%d+)$"
      local request = "GET /healthz HTTP/1.1\r\nHost: any.example\r\n\r\n"
      assert.equal(200, assert(http.ask("127.0.0.1:" .. port, request)).code)
      consumer.stop(program)
    end)

    it("ends a connection that goes on for ten seconds", function()
      local program, address = start(consumer.TELL)
      local connection = assert(http.connect(address))
      local over = rabbit.eventually(function()
        connection:send("G")
        return connection:is_over()
      end, consumer.PATIENCE)
      assert.is_true(over)
      assert.equal("alive\n", get(address, "/healthz"))
      consumer.stop(program)
    end)
  end)

  describe("where it cannot listen", function()
    local function run(flags, env)
      local space, words = workspace.new(), {}
      for name, value in pairs(flags) do words[#words + 1] = ("--%s=%s"):format(name, value) end
      words[#words + 1] = { env = env }
      return moonrabbit.run("run", consumer.write_handler(space, consumer.TELL), "--broker", rabbit.url,
        "--exit-when-idle=0", unpack(words))
    end

    it("ends the program if that port was asked for", function()
      local _, address = start(consumer.TELL)
      local result = run { queue = rabbit.queue "status", ["status-listen"] = address }
      assert.equal(1, result.code)
      assert.equal(("cannot listen at %s %s: Address already in use"):format(address, ADVICE),
        result.logs[#result.logs].error)
    end)

    it("warns if it is the default, and runs", function()
      local holder = moonrabbit.start("run", consumer.write_handler(workspace.new(), consumer.TELL),
        "--queue", rabbit.queue "status", "--broker", rabbit.url,
        { env = { MOONRABBIT_STATUS_LISTEN = false } })
      consumer.wait_consuming(holder) -- it has the port, or somebody else on this machine does
      local result = run({ queue = rabbit.queue "status" }, { MOONRABBIT_STATUS_LISTEN = false })
      assert.equal(0, result.code, result.err)
      local warned
      for _, line in ipairs(result.logs) do
        warned = warned or line.msg:find("^no status page") and line
      end
      local refused = "cannot listen at 127.0.0.1:9464 %s: Address already in use"
      assert.equal(refused:format(ADVICE), warned.error)
      assert.equal("warning", warned.level)
    end)

    it("and where it is off, it does not", function()
      local result = run { queue = rabbit.queue "status", ["status-listen"] = "off" }
      assert.equal(0, result.code)
      assert.is_nil(result.err:find("status", 1, true) and result.err:find("listens", 1, true))
    end)
  end)
end)
