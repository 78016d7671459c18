-- What is ready to use with Prometheus and Grafana, against the program and against promtool: no broker is
-- needed, since a program that waits for its broker tells of all its metrics.
local cjson = require "cjson"
local http = require "support.http"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local project = require "support.project"
local workspace = require "support.workspace"

local ALERTS = "runtime/doc/alerts.yml"
local TRIALS = "spec/monitoring/alerts_test.yml"
local DASHBOARD = "runtime/doc/grafana.json"
local PAGE = "runtime/doc/monitoring.md"

-- support.cleanup would want the AMQP client, too.
local function cleanup()
  http.cleanup()
  moonrabbit.cleanup()
  workspace.cleanup()
end

-- The metrics that a running program has: their types by name.
local function metrics()
  local handler = workspace.new():write("handler.lua", "return function() end")
  local program = moonrabbit.start("run", handler, "--queue=orders", "--status-listen=127.0.0.1:0",
    "--broker=amqp://guest:guest@127.0.0.1:1/%2f", "--broker-wait=1h")
  local line = assert(program:wait_log { msg = "status listens" })
  local _, types = http.samples(assert(http.get(line.address, "/metrics")).body)
  return types
end

local function promtool(...)
  local result = process.run { "promtool", ... }
  assert.equal(0, result.code, result.out .. result.err)
end

-- The panels of the dashboard that ask something, and what they ask.
local function panels()
  local asking, expressions = {}, {}
  for _, panel in ipairs(cjson.decode(project.read(DASHBOARD)).panels) do
    for _, target in ipairs(panel.targets or {}) do
      expressions[#expressions + 1] = target.expr
    end
    asking[#asking + 1] = panel.type ~= "row" and panel or nil
  end
  return asking, expressions
end

local function overlap(one, other)
  local a, b = one.gridPos, other.gridPos
  return a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h
end

describe("ready-made monitoring", function()
  after_each(cleanup)

  it("asks only for metrics that the program has", function()
    local types = metrics()
    assert.equal("gauge", types.moonrabbit_ready)
    for _, file in ipairs { ALERTS, DASHBOARD } do
      local asked = 0
      for name in project.read(file):gmatch "moonrabbit_[%w_]+" do
        local base = name:gsub("_bucket$", ""):gsub("_count$", ""):gsub("_sum$", "")
        assert.is_truthy(types[name] or types[base] == "histogram", ("%s: %s"):format(file, name))
        asked = asked + 1
      end
      assert.is_true(asked > 20)
    end
  end)

  it("has alerts that fire when they should, and then only", function()
    promtool("check", "rules", project.root .. "/" .. ALERTS)
    promtool("test", "rules", project.root .. "/" .. TRIALS)
  end)

  it("has alerts that say how bad it is and what to do, each tried, and listed on the page", function()
    local trials, page, count = project.read(TRIALS), project.read(PAGE), 0
    for rule in (project.read(ALERTS):gsub("%- alert: ", "\0")):gmatch "%z([^%z]+)" do
      local name = rule:match "^%w+"
      local severity = assert(rule:match "severity: (%l+)", name)
      assert.is_truthy(rule:match "summary: %S" and rule:match "description: >%-%s+%S", name)
      assert.is_truthy(trials:find(('alertname="%s"'):format(name), 1, true), name .. " is not tried")
      assert.is_truthy(page:find(("| `%s` | %s |"):format(name, severity), 1, true), name)
      count = count + 1
    end
    local _, told = page:gsub("| `Moonrabbit%w+` |", "")
    assert.equal(count, told)
  end)

  it("has a dashboard whose questions Prometheus understands", function()
    local rules = { "groups:\n  - name: dashboard\n    rules:\n" }
    for i, expression in ipairs(select(2, panels())) do
      local text = expression:gsub("%$__rate_interval", "1m"):gsub('"%$%w+"', '".*"')
      rules[#rules + 1] = ("      - record: panel:%d\n        expr: |-\n          %s\n"):format(i, text)
    end
    promtool("check", "rules", workspace.new():write("dashboard.yml", table.concat(rules)))
  end)

  it("has a dashboard of panels that lie side by side, each with a number and a source of its own", function()
    local all, numbers = panels(), {}
    for i, panel in ipairs(all) do
      assert.is_nil(numbers[panel.id], panel.title)
      numbers[panel.id] = true
      assert.equal("${datasource}", panel.datasource.uid)
      assert.is_true(#panel.targets > 0 and #panel.description > 0, panel.title)
      assert.is_true(panel.gridPos.x + panel.gridPos.w <= 24, panel.title)
      for k = 1, i - 1 do
        assert.is_false(overlap(panel, all[k]), panel.title .. " lies on " .. all[k].title)
      end
    end
  end)
end)
