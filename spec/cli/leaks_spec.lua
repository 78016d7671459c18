-- Leaks of every shape are named as their author would name them, and what does not leak is not suspected:
-- planted ones in spec/leaks, clean handlers in spec/clean. Each says at its top what it does, and
--
--   -- Expect: KIND: PATH
--
-- once for each leak. `moonrabbit replay` gives them messages, whose ids count up; no broker is needed. That
-- hostile scripts find nothing new in being looked at is tried with those of spec/sandbox.
local cjson = require "cjson"
local dirent = require "posix.dirent"
local moonrabbit = require "support.moonrabbit"
local project = require "support.project"
local workspace = require "support.workspace"

local IS_ASAN = moonrabbit.path:find("asan", 1, true) ~= nil -- an order of magnitude slower
local LEAKING_MESSAGES = IS_ASAN and 600 or 2500
-- More than what any clean handler holds, and in release all of a state's life.
local CLEAN_MESSAGES = tonumber(os.getenv "CLEAN_MESSAGES") or (IS_ASAN and 2500 or 10500)

local NEIGHBOURS = 40

local function scripts_in(folder)
  local names = {}
  for name in dirent.files(project.root .. "/" .. folder) do
    if name:find("%.lua$") then names[#names + 1] = folder .. "/" .. name end
  end
  table.sort(names)
  return names
end

local function expected(name)
  local leaks = {}
  for leak in project.read(name):gmatch "%-%- Expect: ([^\n]+)" do leaks[#leaks + 1] = leak end
  return leaks
end

describe("leaks", function()
  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function replay_lines(name, lines, ...)
    local file = workspace.new():write("messages.ndjson", table.concat(lines, "\n") .. "\n")
    local arguments = { "replay", name, file, ... }
    arguments[#arguments + 1] = { cwd = project.root, timeout = 300 }
    return moonrabbit.run(unpack(arguments))
  end

  local function replay(name, count, ...)
    local lines = {}
    for i = 1, count do lines[i] = ('{"id":"message-%d","body":{"id":%d}}'):format(i, i) end
    return replay_lines(name, lines, ...)
  end

  local function report_of(name, count)
    local result = replay(name, count, "--json")
    assert.equal(0, result.code, result.err)
    return cjson.decode(result.out)
  end

  for _, name in ipairs(scripts_in "spec/leaks") do
    it("are named in " .. name, function()
      local wanted, found = expected(name), {}
      assert(#wanted > 0, "nothing is expected")
      local report = report_of(name, LEAKING_MESSAGES)
      for i, leak in ipairs(report.leaks) do
        found[i] = leak.kind .. ": " .. leak.path
        assert(leak.bytes > 0 and leak.bytes_per_message > 0, "bytes")
      end
      assert.same(wanted, found)
      assert(report.looking.complete and report.looking.looks > 3)
    end)
  end

  for _, name in ipairs(scripts_in "spec/clean") do
    it("are not seen in " .. name, function()
      local report = report_of(name, CLEAN_MESSAGES)
      assert.same({}, report.leaks)
      assert.equal(CLEAN_MESSAGES, report.verdicts.ack)
    end)
  end

  -- The attack, and then neighbours, with looks between them.
  local function attack(name)
    local lines = { '{"id":"attack","body":{"id":0}}' }
    for i = 1, NEIGHBOURS do lines[#lines + 1] = ('{"id":"%d","body":{"id":%d}}'):format(i, i) end
    local folder = workspace.new()
    folder:write("attack.lua", project.read "spec/sandbox/attack.lua")
    local script = folder:write("handler.lua", project.read(name))
    local result = replay_lines(script, lines, "--json", "--limits-memory", "32MiB", "--log-level", "error")
    assert.equal(0, result.code, result.err)
    local report = cjson.decode(result.out)
    assert.equal(0, report.deaths, name)
    assert(report.verdicts.ack >= NEIGHBOURS, "neighbours are harmed")
    assert(report.looking.looks > 0)
  end

  for _, category in ipairs { "escapes", "tampering", "memory", "exhaustion" } do
    for _, name in ipairs(scripts_in("spec/sandbox/" .. category)) do
      if not expected(name)[1]:find "^not loaded" then
        it("are looked for beside " .. name, function() attack(name) end)
      end
    end
  end

  it("have the figures that a counter would give them", function()
    local leak = report_of("spec/leaks/upvalue_table.lua", 500).leaks[1]
    assert.same({ 500, 1 }, { leak.entries, leak.entries_per_message })
    -- A node of the table, and a string such as message-123.
    assert(leak.bytes_per_message > 24 + 24 and leak.bytes_per_message < 80, leak.bytes_per_message)
    assert.matches("message%-%d+, message%-%d+", leak.sample)
  end)

  it("are lines of the report for people, and a reason to fail", function()
    local result = replay("spec/leaks/two_at_once.lua", 500, "--fail-on", "leak")
    assert.equal(1, result.code)
    assert.matches("\nleaks\n  upvalue 'state' of two_at_once.lua:6 .seen, table, 500 entries, "
      .. "%+1.0 per message, %+%d+ bytes per message\n    keys: message%-", result.out)
    assert.matches("\n  upvalue 'state' of two_at_once.lua:6 .slow, array, 50 entries, %+0.10 per message, ",
      result.out)
    assert.matches("\n  leaks      2 found, %d+ looks; [%d.]+ %% of the time\n", result.out)
    assert.matches("saw leak", result.err)
    assert.equal(0, replay("spec/clean/ring.lua", 3000, "--fail-on", "leak").code)
  end)
end)
