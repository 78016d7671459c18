-- `moonrabbit doctor`: what would leak. Facts are gathered (doctor_facts), judged (doctor_rules) and told
-- (doctor_report). It changes nothing, and what it could not look at it says.
local gather = require "moonrabbit.doctor_facts"
local report = require "moonrabbit.doctor_report"
local rules = require "moonrabbit.doctor_rules"
local words = require "moonrabbit.words"

local RANK = { info = 1, warning = 2, critical = 3 }
local LAYERS = { application = 1, connection = 2, consumer = 3, queue = 4, server = 5, system = 6 }

local DONE, FAILED, USAGE = 0, 1, 2

local function complain(format, ...)
  io.stderr:write("moonrabbit: ", format:format(...), "\n")
end

-- Judging.

-- Texts hold names that strangers chose.
local function finish(finding, rule, clean)
  return {
    rule = rule.name, layer = rule.layer, severity = finding.severity or rule.severities[1],
    object = clean(finding.object), what = clean(finding.what), why = rule.why, advice = rule.advice,
    line = finding.line and clean(finding.line), figures = finding.figures,
  }
end

-- The worst first; of the same severity from the application down to the system.
local function is_before(a, b)
  if a.severity ~= b.severity then return RANK[a.severity] > RANK[b.severity] end
  if a.layer ~= b.layer then return LAYERS[a.layer] < LAYERS[b.layer] end
  if a.rule ~= b.rule then return a.rule < b.rule end
  return a.object < b.object
end

local function judge(facts, clean)
  local findings, counts = {}, { info = 0, warning = 0, critical = 0 }
  for _, rule in ipairs(rules) do
    rule.check(facts, function(finding)
      finding = finish(finding, rule, clean)
      findings[#findings + 1] = finding
      counts[finding.severity] = counts[finding.severity] + 1
    end)
  end
  table.sort(findings, is_before)
  return findings, counts
end

-- What was looked at, in words.
local function describe(facts)
  local seen, config, management = {}, facts.config, facts.management
  seen[#seen + 1] = ("configuration%s with %s"):format(config.file and " " .. config.file or "",
    words.counted(#config.consumers, "consumer"))
  if facts.amqp then
    local count = 0
    for _ in pairs(facts.amqp.queues) do count = count + 1 end
    seen[#seen + 1] = ("%s (%s by name)"):format(facts.amqp.name, words.counted(count, "queue"))
  end
  if management then
    local counts = {}
    for _, kind in ipairs { "queue", "connection", "channel", "consumer", "node" } do
      local list = management[kind .. "s"]
      if list then counts[#counts + 1] = words.counted(#list, kind) end
    end
    seen[#seen + 1] = ("management of RabbitMQ %s (%s)"):format(management.version,
      #counts > 0 and table.concat(counts, ", ") or "its overview only")
  end
  seen[#seen + 1] = "this machine with " ..
    words.counted(#facts.system.processes, "moonrabbit process", "moonrabbit processes")
  return seen
end

-- What could not be looked at: `failures` are sentences for standard error, too.
local function new_tell(clean)
  local tell = { list = {}, failures = {} }
  function tell.unseen(what, why)
    tell.list[#tell.list + 1] = { what = clean(what), why = clean(why) }
  end
  function tell.failure(what, why)
    tell.failures[#tell.failures + 1] = clean(why)
    tell.unseen(what, why)
  end
  return tell
end

local function examine(options)
  local clean = options.world.clean
  local tell = new_tell(clean)
  local facts = gather(options.world, options.config, tell)
  local findings, counts = judge(facts, clean)
  local seen = describe(facts)
  for i, text in ipairs(seen) do seen[i] = clean(text) end
  return { findings = findings, counts = counts, seen = seen, unseen = tell.list, failures = tell.failures }
end

local function exit_code(result, fail_on)
  local worst = result.findings[1] and RANK[result.findings[1].severity] or 0
  local fails = fail_on and worst >= RANK[fail_on]
  return (#result.failures > 0 or fails) and FAILED or DONE
end

return function(options)
  if options.fail_on and not RANK[options.fail_on] then
    complain("--fail-on %s: give info, warning or critical", options.world.clean(options.fail_on))
    return USAGE
  end
  local result = examine(options)
  io.stdout:write(options.json and report.as_json(result) or report.as_text(result, options.world.width()))
  if not io.stdout:flush() then
    complain("standard output does not take what is written to it")
    return FAILED
  end
  for _, reason in ipairs(result.failures) do complain("%s", reason) end
  return exit_code(result, options.fail_on)
end
