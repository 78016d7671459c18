-- Reads and checks a configuration: file, environment and flags in; plain values, or every problem found,
-- out.
--
-- host/config.c runs this once for each reading, in a state of its own, with two arguments: `host`, functions
-- in C (the only way to the world from here), and `source`, what the configuration is made from. A flag goes
-- before the environment, that before the file, that before the default. Paths in the file are relative to
-- the file's folder, elsewhere to the working directory. The answer is { problems = { text, ... } }, or the
-- values of the root by their paths ("broker.heartbeat") with `consumers`, a list of the same, which is empty
-- where source.broker_only says that nobody asks for more than the broker, and may be where
-- source.consumers_optional does.

local host, source = ...

-- Where a value came from: the higher goes before the lower.
local RANK = { DEFAULT = 0, FILE = 1, ENVIRONMENT = 2, FLAG = 3 }

local problems = host.script("config_problems")(host)
local kinds = host.script("config_kinds")(host, problems)
local keys = host.script("config_keys")(host, kinds)
local checks = host.script("config_checks")(host, problems, keys, RANK)
local complain, show, did_you_mean = problems.complain, problems.show, problems.did_you_mean

local DEFAULT_FILE = "moonrabbit.lua"
local CONSUMERS_MAX = 1000

local function sorted_keys(set)
  local names = {}
  for name in next, set do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Flags and environment.

local function flag_name(rule) return (rule.path:gsub("[._]", "-")) end
local function variable_name(flag) return "MOONRABBIT_" .. flag:upper():gsub("-", "_") end

-- A command that only talks to a broker wants to know nothing else.
local function is_wanted(rule) return not source.broker_only or rule.path:find("^broker%.") ~= nil end

-- Besides each key's own flag, the short ones.
local by_flag, by_variable = {
  broker = keys.root.by_path["broker.url"],
  management = keys.root.by_path["broker.management"],
}, {}
for _, scope in ipairs { keys.root, keys.consumer } do
  for _, rule in ipairs(scope) do by_flag[flag_name(rule)] = rule end
end
for flag, rule in next, by_flag do
  by_variable[variable_name(flag)] = rule
  if not is_wanted(rule) then by_flag[flag] = nil end
end

-- Takes what one flag or variable says. Every value is looked at, also one that another goes before.
local function take(rank, label, rule, raw)
  local value = kinds.evaluate(rule, raw, label, true, "")
  local entry = rule.scope.outside[rule.path]
  if not entry then
    rule.scope.outside[rule.path] = { rank = rank, label = label, rule = rule, value = value }
  elseif entry.rank == rank and entry.label == label then
    complain("%s is given twice: give it once", label)
  elseif entry.rank == rank then
    complain("%s and %s are both given: they mean the same, so give one", entry.label, label)
  end
end

-- A flag of a boolean key says true by being there.
local function take_flag(rule, flag)
  local label = "--" .. flag.name
  if flag.value or rule.kind == "boolean" then
    take(RANK.FLAG, label, rule, flag.value or "true")
  else
    complain("%s has no value: write %s VALUE, or %s=VALUE", label, label, label)
    rule.scope.outside[rule.path] = { rank = RANK.FLAG, label = label, rule = rule }
  end
end

-- True where a flag is unknown: then it, or what follows it, may be what seems to be missing.
local function take_flags()
  local unknown = false
  for _, flag in ipairs(source.flags) do
    local rule = by_flag[flag.name]
    if rule then
      take_flag(rule, flag)
    else
      unknown = true
      complain("there is no option %s%s", show("--" .. flag.name),
        did_you_mean(flag.name, sorted_keys(by_flag), "--") or
          (": 'moonrabbit help %s' says which there are"):format(source.command))
    end
  end
  if source.handler then
    take(RANK.FLAG, "the handler on the command line", keys.consumer.by_path.handler, source.handler)
  end
  return unknown
end

-- Kubernetes tells every container of every service: of one called moonrabbit by MOONRABBIT_PORT,
-- MOONRABBIT_SERVICE_HOST and so on.
local function is_of_kubernetes(name, value)
  return name:find("_SERVICE_HOST$") or name:find("_SERVICE_PORT$") or name:find("_SERVICE_PORT_") or
    name:find("_PORT_%d+_%u+") or (name:find("_PORT$") and value:find("^%a+://"))
end

local function take_environment()
  for _, name in ipairs(sorted_keys(source.environment)) do
    local value, rule = source.environment[name], by_variable[name]
    if name:find("^MOONRABBIT_") and value ~= "" and not is_of_kubernetes(name, value) then
      if not rule then
        complain("the environment has %s, which sets nothing%s", show(name),
          did_you_mean(name, sorted_keys(by_variable), "") or ": unset it")
      elseif is_wanted(rule) then
        take(RANK.ENVIRONMENT, name, rule, value)
      end
    end
  end
end

-- The file.

local function copy(library, without)
  local result = {}
  for name, value in next, library do
    if name ~= without then result[name] = value end
  end
  return result
end

local function env(name, default)
  if type(name) ~= "string" then error('env takes the name of a variable: env("NAME", default)', 2) end
  local value = source.environment[name]
  if value == nil then return default end
  if type(default) ~= "number" then return value end
  return tonumber(value) or
    error(("the environment's %s is %s, where a number is needed"):format(name, show(value)), 2)
end

-- What the file sees. Without pcall, so that it cannot live on past the bound on its steps; without
-- getmetatable, so that the strings of this script stay its own.
local function file_environment()
  local names = {
    assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, select = select,
    setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
    string = copy(string, "dump"), table = copy(table), math = copy(math), env = env,
  }
  return setmetatable(names, { __metatable = false, __index = function(_, name)
    error(show(name) .. ' is not defined: there are string, table, math and env("NAME", default)', 2)
  end })
end

-- The table that the file returns: empty where there is no file; nil after a complaint.
local function read_file()
  if source.only_named and not source.file then return {} end
  local name = source.file or DEFAULT_FILE
  local content, reason, missing = host.read(name)
  if not content and missing and not source.file then return {} end
  if not content then
    complain("the configuration file %s %s", show(name), reason)
    return nil
  end
  source.file_name = name
  if content:byte() == 27 then
    complain("%s is compiled Lua: give its source", name)
    return nil
  end
  local ok, result = host.run(content, name, file_environment())
  if not ok then
    local words = type(result) == "string" and result or name .. " raised an error that is no text"
    complain("%s", host.redact(words))
  elseif type(result) ~= "table" then
    complain("%s returned %s: end it with return { ... }, a table of keys", name, show(result))
  else
    return result
  end
end

local function of_file(label)
  return source.file_name .. ": " .. label
end

local function folder_of_file()
  return source.file_name:match("^(.*/)[^/]*$") or ""
end

local function key_name(name)
  if type(name) == "string" and name:find("^[%a_][%w_]*$") then return name end
  return "[" .. show(name) .. "]"
end

-- Where a key of that name does stand, for who put it into the wrong table.
local function home_of(name)
  for _, scope in ipairs { keys.root, keys.consumer } do
    for _, rule in ipairs(scope) do
      if rule.path:match("[^.]+$") == name then
        return (": did you mean %s%s?"):format(scope == keys.root and "" or "consumers[...].", rule.path)
      end
    end
  end
end

local function complain_of_stranger(scope, prefix, group, name)
  local known = copy(scope.groups[group])
  if scope == keys.root and group == "" then known.consumers = true end
  known = sorted_keys(known)
  local advice
  if type(name) == "string" then advice = did_you_mean(name, known, prefix .. group) or home_of(name) end
  complain("%s is unknown%s", of_file(prefix .. group .. key_name(name)),
    advice or ": there are " .. table.concat(known, ", "))
end

-- Gathers path = value from a table of the file, as deep as there are groups, and what has no place in
-- `strangers`.
local function gather(scope, group, given, found, strangers)
  for name, value in next, given do
    local here = type(name) == "string" and not name:find(".", 1, true) and group .. name
    if here and scope.by_path[here] then
      found[here] = value
    elseif here and scope.groups[here .. "."] then
      found[here .. "."] = value
      if type(value) == "table" then gather(scope, here .. ".", value, found, strangers) end
    elseif not (scope == keys.root and here == "consumers") then
      strangers[#strangers + 1] = { group = group, name = name, sort = group .. key_name(name) }
    end
  end
end

local function complain_of_groups(scope, prefix, found)
  for _, group in ipairs(sorted_keys(scope.groups)) do
    if found[group] ~= nil and type(found[group]) ~= "table" then
      complain("%s is %s: give a table with any of %s", of_file(prefix .. group:sub(1, -2)),
        show(found[group]), table.concat(sorted_keys(scope.groups[group]), ", "))
    end
  end
end

-- What a table of the file says, by path; "group." for a group that is there.
local function found_in(scope, prefix, given)
  local found, strangers = {}, {}
  gather(scope, "", given, found, strangers)
  complain_of_groups(scope, prefix, found)
  table.sort(strangers, function(a, b) return a.sort < b.sort end)
  for _, stranger in ipairs(strangers) do
    complain_of_stranger(scope, prefix, stranger.group, stranger.name)
  end
  return found
end

-- Settling.

local function entry_of_file(rule, prefix, raw)
  local label = of_file(prefix .. rule.path)
  if rule.per_run then
    complain("%s belongs to one run and not to the file: give it as --%s", label, flag_name(rule))
    return nil
  end
  return { rank = RANK.FILE, label = label, rule = rule,
    value = kinds.evaluate(rule, raw, label, false, folder_of_file()) }
end

local function entry_by_default(rule, prefix, entries)
  local default = rule.default
  if type(default) == "function" then
    default = default(function(path) return entries[path] and entries[path].value end)
  end
  if default == nil then return nil end
  return { rank = RANK.DEFAULT, label = prefix .. rule.path, rule = rule, value = default }
end

-- The entries of one scope by path, as config_checks.lua describes them.
local function settle(scope, prefix, found)
  local entries = {}
  for _, rule in ipairs(scope) do
    local raw, of_the_file = found[rule.path], nil
    if raw ~= nil then of_the_file = entry_of_file(rule, prefix, raw) end
    entries[rule.path] = scope.outside[rule.path] or of_the_file or entry_by_default(rule, prefix, entries)
  end
  return entries
end

-- The one list of URLs that broker.url and broker.urls make; nil after a complaint.
local function settle_urls(entries)
  local one, many = entries["broker.url"], entries["broker.urls"]
  if one and many and one.rank == many.rank then
    complain("%s and %s are both given: give one of them", one.label, many.label)
    return nil
  end
  if many and (not one or many.rank > one.rank) then
    if not many.value or #many.value > 0 then return many.value end
    complain("%s is empty: give %s", many.label, keys.a_list_of_urls)
    return nil
  end
  if one then return one.value and { one.value } end
  return { keys.DEFAULT_URL }
end

-- Consumers.

-- The list that the file has, or {} where it has none; nil after a complaint.
local function listed_consumers(file)
  local listed = file.consumers
  if listed == nil then return {} end
  if type(listed) ~= "table" then
    complain("%s is %s: give a list of tables, consumers = { { queue = ..., handler = ... } }",
      of_file("consumers"), show(listed))
  elseif not kinds.length(listed) then
    complain('%s is no list: write two braces, consumers = { { queue = "NAME", handler = "FILE.lua" } }',
      of_file("consumers"))
  elseif #listed > CONSUMERS_MAX then
    complain("%s has %d consumers, and %d are allowed", of_file("consumers"), #listed, CONSUMERS_MAX)
  else
    return listed
  end
end

local WANTED = {
  { name = "queue", flag = "--queue NAME", example = 'queue = "NAME"' },
  { name = "handler", flag = "HANDLER.lua", example = 'handler = "FILE.lua"' },
}

local function complain_of_missing(prefix, wanted, in_file)
  if in_file then
    complain("%s is missing: add %s", of_file(prefix .. wanted.name), wanted.example)
  else
    complain("no %s is given: add %s to the command line, set %s, or write consumers = { { %s, ... } } in %s",
      wanted.name, wanted.flag, variable_name(wanted.name), wanted.example, source.file_name or DEFAULT_FILE)
  end
end

-- A queue and a handler are one consumer's; a flag cannot say whose.
local function check_one_consumer(count)
  for _, wanted in ipairs(WANTED) do
    local entry = keys.consumer.outside[wanted.name]
    if entry and count > 1 then
      complain("%s says nothing of which consumer is meant, and %s has %d: change it there", entry.label,
        source.file_name, count)
    end
  end
end

local function declares(found)
  if found["declare."] ~= nil then return true end
  for path in next, keys.consumer.outside do
    if path:find("^declare%.") then return true end
  end
  return false
end

local function settle_consumer(index, given, in_file)
  local prefix = ("consumers[%d]."):format(index)
  if type(given) ~= "table" then
    complain("%s is %s: give a table, { queue = ..., handler = ... }", of_file(prefix:sub(1, -2)),
      show(given))
    return nil
  end
  local found = in_file and found_in(keys.consumer, prefix, given) or {}
  local entries, declared = settle(keys.consumer, prefix, found), declares(found)
  for _, wanted in ipairs(WANTED) do
    if not entries[wanted.name] then complain_of_missing(prefix, wanted, in_file) end
  end
  checks.check_consumer(entries)
  if declared then checks.check_declare(entries) end
  return { entries = entries, declared = declared, label = in_file and of_file(prefix) or prefix }
end

local function settle_consumers(listed, flags_unknown)
  local outside, in_file = keys.consumer.outside, #listed > 0
  local missing = not in_file and not (outside.queue and outside.handler)
  if missing and flags_unknown then return {} end
  if missing and source.consumers_optional and not (outside.queue or outside.handler) then return {} end
  check_one_consumer(#listed)
  local consumers = {}
  for i, given in ipairs(in_file and listed or { {} }) do
    consumers[#consumers + 1] = settle_consumer(i, given, in_file)
  end
  return consumers
end

-- Handing over.

-- A name of its own for each: the queue, with a number where another consumer has that name or that queue.
local function name_consumers(consumers)
  local is_queue, is_name = {}, {}
  for _, consumer in ipairs(consumers) do is_queue[consumer.entries.queue.value] = true end
  for _, consumer in ipairs(consumers) do
    local queue = consumer.entries.queue.value
    local name, number = queue, 1
    while is_name[name] or (number > 1 and is_queue[name]) do
      number = number + 1
      name = queue .. "-" .. number
    end
    is_name[name], consumer.name = true, name
  end
end

local function plain(entries)
  local values = {}
  for path, entry in next, entries do values[path] = entry.value end
  return values
end

local function plain_consumer(consumer)
  local values = plain(consumer.entries)
  values.name, values.declared = consumer.name, consumer.declared
  local header = values.ordering:match("^header:(.*)$")
  if header then values.ordering, values["ordering.header"] = "header", header end
  return values
end

local function plain_root(entries, urls, consumers)
  local values = plain(entries)
  values.file, values["broker.urls"], values.consumers = source.file_name, urls, {}
  values["status.explicit"] = entries["status.listen"].rank ~= RANK.DEFAULT
  if values["status.listen"] == "off" then values["status.listen"] = nil end
  for i, consumer in ipairs(consumers) do values.consumers[i] = plain_consumer(consumer) end
  return values
end

local function main()
  local flags_unknown = take_flags()
  take_environment()
  local file = read_file()
  local entries = settle(keys.root, "", found_in(keys.root, "", file or {}))
  local urls = settle_urls(entries)
  checks.check_root(entries, urls)
  local listed = file and not source.broker_only and listed_consumers(file)
  local consumers = listed and settle_consumers(listed, flags_unknown) or {}
  checks.check_all(entries, consumers)
  if #problems.list > 0 then return { problems = problems.list } end
  name_consumers(consumers)
  return plain_root(entries, urls, consumers)
end

return main()
