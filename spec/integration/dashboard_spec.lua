-- The questions of the Grafana dashboard, asked as Grafana asks them: of a Prometheus that scrapes a program
-- at work. Whether they are well formed, and how the panels lie, is tried in spec/monitoring.
local cjson = require "cjson"
local consumer = require "support.consumer"
local http = require "support.http"
local process = require "support.process"
local project = require "support.project"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

-- Scraped so often that a few seconds make a rate.
local PROMETHEUS = [[
global: { scrape_interval: 500ms, scrape_timeout: 500ms }
scrape_configs:
  - job_name: moonrabbit
    static_configs: [ { targets: [ %q ] } ]
]]

-- A bit of everything: verdicts, the cache, messages published, states that are recycled.
local HANDLER = [[
  local cache = require "cache"
  return function(order, message)
    cache.add(order.id %% 10, true, "1m")
    message:publish("", %q, order)
    if order.id %% 50 == 0 then return "reject", "as planned" end
  end
]]

local REQUEST = "GET /api/v1/query?query=%s HTTP/1.0\r\n\r\n" -- the answer comes in one piece, to the end
local VARIABLES = { ["$__rate_interval"] = "5s", ["$instance"] = ".*", ["$consumer"] = ".*" }

-- Of queues without a bound there is none.
local MAY_BE_EMPTY = { ["moonrabbit_queue_max_messages"] = true }

local function escaped(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

describe("the dashboard", function()
  after_each(require "support.cleanup")

  local function start_program()
    local queue, sink, dead = rabbit.queue "dashboard", rabbit.queue "sink", rabbit.queue "dead"
    local program = consumer.start(queue, HANDLER:format(sink), { ["status-listen"] = "127.0.0.1:0",
      ["memory-interval"] = "100ms", ["recycle-messages"] = 20, ["dead-letter"] = dead, rate = "200/s" })
    consumer.fill(queue, 20000)
    return program, assert(program:wait_log { msg = "status listens" }).address
  end

  local function start_prometheus(target)
    local space = workspace.new()
    local prometheus = process.start { "prometheus", "--log.format=json", "--web.listen-address=127.0.0.1:0",
      "--storage.tsdb.path=" .. space.path .. "/data",
      "--config.file=" .. space:write("prometheus.yml", PROMETHEUS:format(target)) }
    local line = assert(prometheus:wait_for('"msg":"Listening on"', consumer.PATIENCE))
    assert(prometheus:wait_for("Server is ready", consumer.PATIENCE))
    return cjson.decode(line).address
  end

  local function ask(address, expression)
    local text = expression:gsub("%$[%w_]+", VARIABLES)
    local connection = assert(http.connect(address))
    connection:send(REQUEST:format(escaped(text)))
    local response = assert(connection:rest())
    connection:close()
    assert.is_truthy(response:find "^HTTP/1.0 200 ", response)
    local answer = cjson.decode(response:match "\r\n\r\n(.*)$")
    assert.equal("success", answer.status, text)
    return answer.data.result
  end

  it("has an answer to each of its questions", function()
    local program, target = start_program()
    local address = start_prometheus(target)
    local waiting = {}
    for _, panel in ipairs(cjson.decode(project.read "runtime/doc/grafana.json").panels) do
      for _, question in ipairs(panel.targets or {}) do
        local name = question.expr:match "moonrabbit_[%w_]+"
        waiting[#waiting + 1] = not MAY_BE_EMPTY[name] and { panel.title, question.expr } or nil
      end
    end
    assert.is_true(#waiting > 40)
    rabbit.eventually(function()
      for i = #waiting, 1, -1 do
        if #ask(address, waiting[i][2]) > 0 then table.remove(waiting, i) end
      end
      return #waiting == 0
    end)
    assert.same({}, waiting)
    consumer.stop(program)
  end)
end)
