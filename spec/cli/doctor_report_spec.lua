-- The doctor's report: a table that keeps within its columns, and one JSON object. No broker is needed.
local cjson = require "cjson"
local doctor = require "support.doctor"

local report = doctor.script "doctor_report"

local function finding(rule, severity)
  return { rule = rule, layer = "queue", severity = severity, object = "queue \195\188ber",
    what = "3 messages", why = ("It grows and grows. "):rep(10), advice = "Have it consumed:",
    line = ("x"):rep(200) }
end

local function result(findings)
  local counts = { info = 0, warning = 0, critical = 0 }
  for _, one in ipairs(findings) do counts[one.severity] = counts[one.severity] + 1 end
  return { findings = findings, counts = counts, seen = { "the configuration", "this machine" },
    unseen = { { what = "queues", why = ("nobody said where they are "):rep(9) } } }
end

local function columns_of(line)
  return select(2, line:gsub("[^\128-\191]", ""))
end

describe("the doctor's report", function()
  it("keeps within the columns that there are, but lines to copy", function()
    for _, columns in ipairs { 60, 80, 100, 120 } do
      for line in report.as_text(result { finding("r", "warning") }, columns):gmatch "[^\n]+" do
        assert.is_true(columns_of(line) <= columns or line:find("^ +x+$") ~= nil, line)
        assert.not_matches(" $", line)
      end
    end
  end)

  it("is no narrower than sixty columns, nor wider than 120 where nobody can say", function()
    assert.equal(report.as_text(result {}, 60), report.as_text(result {}, 1))
    assert.equal(report.as_text(result {}, 120), report.as_text(result {}, 5000))
    assert.equal(report.as_text(result {}, 100), report.as_text(result {}))
  end)

  it("has a finding with its reason, what to do and what to copy", function()
    local text = report.as_text(result { finding("r", "critical") }, 80)
    local margin = "\n" .. (" "):rep(23)
    assert.matches("^SEVERITY  LAYER        FINDING\ncritical  queue        queue \195\188ber: 3 mess", text)
    assert.matches(margin .. "why  It grows", text, nil, true)
    assert.matches(margin .. "do   Have it consumed:" .. margin .. "       xxx", text, nil, true)
    assert.matches("\nlooked at      the configuration; this machine\nnot looked at  queues: nobody", text)
    assert.matches("\nfound: 1 critical\n$", text)
  end)

  it("shows so many of a kind and no more", function()
    local findings = {}
    for i = 1, 25 do findings[i] = finding("r", "warning") end
    findings[26] = finding("s", "info")
    local text = report.as_text(result(findings), 80)
    assert.equal(21, select(2, text:gsub("queue \195\188ber", "")))
    assert.matches("\nand 5 more of r; --json has all\n", text, nil, true)
    assert.matches("found: 25 warning, 1 info\n$", text)
    assert.equal(26, #cjson.decode(report.as_json(result(findings))).findings)
  end)

  it("says that nothing was found, and that not all was looked at", function()
    local partly, whole = result {}, result {}
    assert.matches("\nfound: nothing that would leak, in what was looked at\n$", report.as_text(partly, 80))
    whole.unseen = {}
    assert.matches("\nfound: nothing that would leak\n$", report.as_text(whole, 80))
    assert.matches('"findings":[],', report.as_json(whole), nil, true)
    assert.matches('"not_looked_at":[]}', report.as_json(whole), nil, true)
  end)
end)
