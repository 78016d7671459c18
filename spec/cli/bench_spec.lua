-- The command line of `scripts/dev/bench`, where it measures nothing, and the chart that it draws.
local cjson = require "cjson"
local chart = require "support.bench_chart"
local json_text = require "support.json_text"
local process = require "support.process"
local project = require "support.project"
local root = require "support.root"
local workspace = require "support.workspace"

local function figures(rate, cpu_us, peak_mib)
  return { rate = rate, cpu_us = cpu_us, peak_mib = peak_mib }
end

-- A report of two consumers and two of the sizes.
local function report()
  return {
    date = "2026-11-30T03:00:00Z",
    machine = { processor = "Moon & Sons <M1>", cores = 2, kernel = "6.1.0" },
    sections = { peers = { sizes = { ["250 B JSON"] = {
      moonrabbit = figures({ 50000, 61000, 40000 }, { 4, 6, 5 }, { 14, 14, 14 }),
      pika = figures({ 10000, 11000, 12000 }, { 50, 40, 45 }, { 20, 20, 20 }),
    }, ["4 KiB JSON"] = {
      moonrabbit = figures({ 9000, 9000, 9000 }, { 24, 26, 25 }, { 14, 14, 14 }),
      pika = figures({ 5000, 5000, 5000 }, { 161, 160, 162 }, { 20, 20, 20 }),
    } } } },
  }
end

describe("the benchmarks' chart", function()
  it("has a bar for the median of each consumer that was measured, in scale, and a line from least to most",
    function()
      local svg = assert(chart.draw(report()))
      local widths, lines = {}, {}
      for width in svg:gmatch 'width="([%d.]+)" height="16"' do widths[#widths + 1] = tonumber(width) end
      for from, to in svg:gmatch '<line x1="([%d.]+)" y1="[%d.]+" x2="([%d.]+)" y2="[%d.]+" class="range"' do
        lines[#lines + 1] = to - from
      end
      assert.equal(6, #widths) -- three panels
      assert.near(5 / 45, widths[1] / widths[2], 0.001)
      assert.near(50000 / 11000, widths[3] / widths[4], 0.01)
      assert.near((6 - 4) / (50 - 40), lines[1] / lines[2], 0.01)
      for _, text in ipairs { ">5.0<", ">45.0<", ">50,000<", ">11,000<", ">14.0<", "Medians of 3 rounds" } do
        assert.truthy(svg:find(text, 1, true), text)
      end
      assert.falsy(svg:find("amqplib", 1, true))
    end)

  it("says when and on which machine, in text that is none of its markup", function()
    local svg = assert(chart.draw(report()))
    assert.truthy(svg:find("Moon &amp; Sons &lt;M1&gt;, 2 cores, Linux 6.1.0, 2026-11-30", 1, true))
    assert.falsy(svg:find("Moon & Sons", 1, true))
  end)

  it("is for light and dark pages, and asks for nothing from elsewhere", function()
    local svg = assert(chart.draw(report()))
    assert.truthy(svg:find("@media (prefers-color-scheme: dark)", 1, true))
    local addresses = select(2, svg:gsub("https?://", ""))
    assert.equal(1, addresses) -- the name of SVG itself
  end)

  it("has a table beside it, of all sizes", function()
    assert.equal("| processor µs a message | 250 B JSON | 4 KiB JSON | 64 KiB binary |\n" ..
      "| --- | --: | --: | --: |\n" ..
      "| moonrabbit, 1 worker | 5.0 | 25.0 |  |\n" ..
      "| pika (Python) | 45.0 | 161 |  |\n", chart.table(report()))
  end)

  it("is in README as the figures say that are kept beside it", function()
    local kept = cjson.decode(project.read "runtime/doc/bench.json")
    assert.equal(chart.draw(kept), project.read "runtime/doc/bench.svg")
    assert.truthy(project.read("README.md"):find(chart.table(kept), 1, true), "README has another table")
  end)

  it("is not drawn without figures", function()
    for _, empty in ipairs { {}, { sections = {} }, { sections = { peers = { sizes = {} } } }, 1 } do
      local svg, problem = chart.draw(empty)
      assert.is_nil(svg)
      assert.equal("it has no figures of the section 'peers'", problem)
    end
  end)
end)

describe("scripts/dev/bench", function()
  after_each(workspace.cleanup)

  local function bench(...)
    return process.run({ root .. "/scripts/dev/bench", ... })
  end

  it("measures, and tells it to people and machines", function()
    local space = workspace.new()
    local path = space.path .. "/figures.json"
    local result = bench("limits", "parts", "--rounds", "1", "--json", path)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.truthy(result.out:find("quota and deadline cost under 300 ns a message", 1, true))
    local sections = cjson.decode(space:read "figures.json").sections
    assert.is_true(#sections.limits.counted_ns > 1 and sections.parts ~= nil)
  end)

  it("draws from the file that --json writes", function()
    local space = workspace.new()
    local path = space:write("figures.json", json_text.encode(report()))
    local result = bench("--chart", path)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.equal(chart.draw(report()), space:read "figures.svg")
    assert.equal(chart.table(report()), result.out)
  end)

  it("refuses what it cannot do, by name and with code 2", function()
    local space = workspace.new()
    local empty, broken = space:write("empty.json", "{}"), space:write("broken.json", "{")
    for _, case in ipairs {
      { { "--chart", empty }, "empty.json is no report of bench --json: it has no figures" },
      { { "--chart", broken }, "broken.json is no report of bench --json: " },
      { { "--chart", space.path .. "/none.json" }, "none.json: No such file" },
      { { "--chart" }, "--chart wants a value" },
      { { "--rounds", "many" }, "--rounds wants a number" },
      { { "--frobnicate" }, "there is no option --frobnicate" },
      { { "frobnicate" }, "there is no section 'frobnicate'; there are: " },
    } do
      local result = bench(unpack(case[1]))
      assert.truthy(result.err:find(case[2], 1, true), result.err)
      assert.equal(2, result.code)
    end
  end)
end)
