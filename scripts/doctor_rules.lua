-- What the doctor knows: a rule for each way in which memory, connections or messages pile up. A rule is
-- pure: facts in (doctor_facts), findings out. What it cannot see, because a fact is nil, it does not judge;
-- that it was not looked at is told elsewhere.
--
-- A rule is a table: name; layer; severities, all that it may give; why it leaks; advice, what to do; and
-- check(facts, found), which calls found { object, what, severity (where there are several), line (a command,
-- or a line of configuration, that does it), figures } for each finding. runtime/doc/doctor.md has a row for
-- every rule.
local rules = {}

for _, part in ipairs { "program", "clients", "queues", "server" } do
  for _, layer in ipairs(require("moonrabbit.doctor_rules_" .. part)) do
    for _, rule in ipairs(layer) do rules[#rules + 1] = rule end
  end
end

return rules
