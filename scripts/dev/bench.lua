-- Runs the sections of `make bench`: each is a file spec/bench/NAME.lua that returns
--
--   { about = "one sentence", run = function(bench) ... end }
--
-- and is given support.bench to measure and to tell with. What `run` returns is the section in the JSON.
local cjson = require "cjson"
local dirent = require "posix.dirent"
local bench = require "support.bench"
local chart = require "support.bench_chart"
local json_text = require "support.json_text"

local FOLDER = "spec/bench"

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(2)
end

local function all_sections()
  local names = {}
  for _, file in ipairs(dirent.dir(FOLDER)) do
    names[#names + 1] = file:match("^(.*)%.lua$")
  end
  table.sort(names)
  return names
end

local function load_section(name)
  local section, problem = loadfile(("%s/%s.lua"):format(FOLDER, name))
  if not section then
    fail("there is no section '%s'; there are: %s (%s)", name, table.concat(all_sections(), ", "), problem)
  end
  return section()
end

local function list()
  for _, name in ipairs(all_sections()) do
    print(("  %-12s %s"):format(name, load_section(name).about))
  end
end

local function read_arguments(words)
  local options = { sections = {} }
  local at = 1
  while words[at] do
    local name = words[at]:match("^%-%-(%a+)$")
    if name == "list" then
      options.list = true
    elseif name == "json" or name == "rounds" or name == "chart" then
      at = at + 1
      options[name] = words[at] or fail("--%s wants a value", name)
    elseif words[at]:sub(1, 1) == "-" then
      fail("there is no option %s; see scripts/dev/bench --help", words[at])
    else
      table.insert(options.sections, words[at])
    end
    at = at + 1
  end
  return options
end

local function line_of(path, pattern)
  for line in io.lines(path) do
    local found = line:match(pattern)
    if found then return found end
  end
  return "unknown"
end

local function machine()
  return {
    processor = line_of("/proc/cpuinfo", "^model name%s*:%s*(.+)$"),
    kernel = line_of("/proc/sys/kernel/osrelease", "^([%d.]+)"),
    cores = bench.cores(),
  }
end

-- A section that fails is told, what it made is ended, and the others follow.
local function run(name)
  local section = load_section(name)
  print(("\n%s: %s"):format(name, section.about))
  local done, result = xpcall(section.run, debug.traceback, bench)
  local cleaned, problem = pcall(bench.clean_up)
  if done and cleaned then return result or {} end
  io.stderr:write(("bench: section '%s' failed: %s\n"):format(name, done and problem or result))
  return nil
end

local function write(path, text)
  local file, problem = io.open(path, "w")
  if not file then fail("%s", problem) end
  assert(file:write(text))
  assert(file:close())
end

-- FILE.json becomes FILE.svg, and the table is told.
local function draw(path)
  local file, problem = io.open(path)
  if not file then fail("%s", problem) end
  local done, report = pcall(cjson.decode, file:read("*a"))
  file:close()
  local svg, missing
  if done then svg, missing = chart.draw(report) end
  if not svg then fail("%s is no report of bench --json: %s", path, missing or report) end
  write(path:gsub("%.json$", "") .. ".svg", svg)
  io.stdout:write(chart.table(report))
end

local function main(words)
  local options = read_arguments(words)
  if options.list then return list() end
  if options.chart then return draw(options.chart) end
  bench.rounds = tonumber(options.rounds or bench.rounds) or fail("--rounds wants a number")
  local names = #options.sections > 0 and options.sections or all_sections()
  local report = { date = os.date("!%Y-%m-%dT%H:%M:%SZ"), machine = machine(), sections = {} }
  local failed = false
  print(("%s, %d cores, Linux %s; medians of %d rounds (least to most)"):format(report.machine.processor,
    report.machine.cores, report.machine.kernel, bench.rounds))
  for _, name in ipairs(names) do
    report.sections[name] = run(name)
    failed = failed or not report.sections[name]
  end
  report.claims = bench.claims()
  bench.tell_claims()
  if options.json then write(options.json, json_text.encode(report)) end
  os.exit(failed and 1 or 0)
end

io.stdout:setvbuf "line"
main(arg)
