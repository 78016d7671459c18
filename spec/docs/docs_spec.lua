-- The reference pages against the program: keys, defaults, flags, variables, fields, files and constants that
-- they name are those that there are, and their Lua examples load. No broker is needed.
--
-- What is true comes from the sources that define it (scripts/config_keys.lua, the field table of
-- lua_message.c, ...) or from the program itself.
local doctor = require "support.doctor"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local stat = require "posix.sys.stat"
local project = require "support.project"
local workspace = require "support.workspace"
local read, root = project.read, project.root

local README = "README.md"
local CONFIGURATION = "runtime/doc/configuration.md"
local HANDLER = "runtime/doc/handler.md"
local ARCHITECTURE = "runtime/doc/architecture.md"
local TESTING = "runtime/doc/testing.md"
local MONITORING = "runtime/doc/monitoring.md"
local DOCTOR = "runtime/doc/doctor.md"
local PAGES = { README, CONFIGURATION, HANDLER, TESTING, MONITORING, DOCTOR, ARCHITECTURE }
local MAN_PAGE = "runtime/doc/moonrabbit.1"
-- Words behind -- that stand for no key.
local NO_KEYS = { config = true, help = true, name = true, -- of the program, and "--name VALUE"
  bare = true, json = true, ["fail-on"] = true, -- of replay
  tags = true, coverage = true } -- of busted

-- support.cleanup would want the AMQP client, too.
local function cleanup()
  workspace.cleanup()
  moonrabbit.cleanup()
end

-- The man page as it is printed: with plain dashes.
local function read_man()
  return (read(MAN_PAGE):gsub("\\%-", "-"):gsub("\\f%u", ""))
end

local function exists(name)
  return stat.stat(root .. "/" .. name) ~= nil
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- From one headline to the next of the same kind.
local function section(page, headline)
  local from = assert(page:find(headline .. "\n", 1, true), "there is no section " .. headline)
  local mark = headline:match("^#+")
  return page:sub(from + #headline, (page:find("\n" .. mark .. " ", from + #headline, true)))
end

-- What is in one set and not in the other, in order.
local function only_in(set, other)
  local names = {}
  for name in pairs(set) do
    if not other[name] then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function find_files(folder, pattern)
  local pipe = assert(io.popen(("find '%s/%s' -name '%s' | sort"):format(root, folder, pattern)))
  local names = {}
  for path in pipe:lines() do names[#names + 1] = path:sub(#root + 2) end
  pipe:close()
  return names
end

-- The keys, as the program's own scripts have them.

local function load_script(name, ...)
  return assert(loadfile(("%s/scripts/%s.lua"):format(root, name)))(...)
end

local function load_rules()
  local host = { redact = function(text) return text end, format_size = tostring, format_duration = tostring }
  local kinds = load_script("config_kinds", host, load_script("config_problems", host))
  local keys = load_script("config_keys", host, kinds)
  local rules = {}
  for _, scope in ipairs { keys.root, keys.consumer } do
    for _, rule in ipairs(scope) do
      rules[#rules + 1], rules[rule.path] = rule, rule
    end
  end
  rules["broker.url"].default = keys.DEFAULT_URL
  return rules, kinds.WHOLE_MAX
end

local RULES, WHOLE_MAX = load_rules()

local function default_of(path)
  local rule = RULES[path]
  if rule.per_run then return nil end
  if type(rule.default) == "function" then return rule.default(default_of) end
  return rule.default
end

local UNITS = {
  size = { B = 1, KiB = 2 ^ 10, MiB = 2 ^ 20, GiB = 2 ^ 30, TiB = 2 ^ 40 },
  duration = { ms = 1e6, s = 1e9, m = 60e9, h = 3600e9, d = 86400e9 },
}

-- A value as the page writes it, as the number that the rule has.
local function number_of(kind, text)
  local units = UNITS[kind]
  if not units then return tonumber(text) end
  local digits, unit = text:match("^(%d+)(%a+)$")
  return units[unit] and digits * units[unit]
end

-- configuration.md.

local KINDS = { integer = "whole number", number = "number", size = "size", duration = "time" }
local OTHER_KINDS = { boolean = "true or false", list = "list", bindings = "list", path = "path",
  rate = "messages in a time" }

-- Entries by key: { kind, default, names, unused } out of the line of facts below each headline.
local function read_entries()
  local entries = {}
  for key, facts in read(CONFIGURATION):gmatch("\n### `([%w_.]+)`\n\n(.-)\n\n") do
    local parts = {}
    for part in (facts:gsub("\n", " ") .. " · "):gmatch("(.-) · ") do parts[#parts + 1] = part end
    entries[key] = { kind = parts[1], default = parts[2], names = table.concat(parts, " ", 3) }
    entries[key].unused = entries[key].names:find("**not used yet**", 1, true) ~= nil
  end
  return entries
end

local ENTRIES = read_entries()

local function kind_is_right(rule, text)
  if rule.kind == "text" and not rule.what:find('^"') then
    return (text == "text" and rule.refuse ~= nil) or rule.path == "status.listen" or
      text:find("^text, ") ~= nil
  elseif rule.kind == "text" then
    return text:gsub("`", "") == rule.what
  elseif not KINDS[rule.kind] then
    return text == OTHER_KINDS[rule.kind]
  end
  local word, least, most, rest = text:match("^([%a ]+), `(%w+)` to `([%w.]+)`(.*)$")
  if rule.max == WHOLE_MAX then return text == ("whole number, `%d` or more"):format(rule.min) end
  return word == KINDS[rule.kind] and number_of(rule.kind, least) == rule.min and
    number_of(rule.kind, most) == rule.max and rest == (rule.none and ', or `"none"`' or "")
end

local function default_is_right(rule, text)
  local default, said = default_of(rule.path), text:match("^default `(.*)`$")
  if default == nil then
    local required = rule.path == "queue" or rule.path == "handler"
    return text == (required and "required" or "no default")
  elseif rule.kind == "boolean" then
    return said == tostring(default)
  elseif rule.kind == "text" then
    return said == '"' .. default .. '"'
  end
  return said and number_of(rule.kind, said) == default
end

local function names_of(path)
  local flag = path:gsub("[._]", "-")
  return "--" .. flag, "MOONRABBIT_" .. flag:upper():gsub("-", "_")
end

describe("configuration.md", function()
  it("has every key, and none that the program does not know", function()
    local paths = {}
    for _, rule in ipairs(RULES) do paths[rule.path] = true end
    assert.same({}, only_in(paths, ENTRIES))
    assert.same({}, only_in(ENTRIES, paths))
  end)

  for _, rule in ipairs(RULES) do
    it("is right about " .. rule.path, function()
      local entry = assert(ENTRIES[rule.path], "no headline for it, with a line of facts below")
      local flag, variable = names_of(rule.path)
      assert(kind_is_right(rule, entry.kind), "kind or bounds differ: " .. entry.kind)
      assert(default_is_right(rule, entry.default), "the default differs: " .. entry.default)
      assert(entry.names:find("`" .. flag .. "`", 1, true), "the flag is not " .. flag)
      assert(entry.names:find("`" .. variable .. "`", 1, true), "the variable is not " .. variable)
    end)
  end
end)

-- What is not used yet.

-- What a worker that heeds a key cannot do without: the member of wire_setup, or the call. Of other keys the
-- member of the configuration counts, as the tables of host/config.c name it.
local IN_WORKER = {
  ["limits.memory"] = "[.>]memory_bytes",
  ["recycle.messages"] = "[.>]recycle_messages",
  ["recycle.memory"] = "[.>]recycle_memory_bytes",
  ["cache.memory"] = "cache_map",
  ["cache.entries"] = "cache_map",
  ["cache.ttl"] = "cache_map",
}
local NO_USE = { ["runtime/host/config.c"] = true, ["runtime/host/worker_process.c"] = true }

local function member_of(key)
  if key == "http.allow" then return "http_allow" end -- a list, which has no place there
  local place = '%("' .. key:gsub("%.", "%%.") .. '", [%w_]+, ([%w_.]+)%)'
  return assert(read("runtime/host/config.c"):match(place), "host/config.c has no place for " .. key)
end

-- The first place that uses what the key says.
local function use_of(key)
  local folder = IN_WORKER[key] and "runtime/worker" or "runtime/host"
  local pattern = (IN_WORKER[key] or "[.>]" .. member_of(key):gsub("%.", "%%.")) .. "%f[^%w_]"
  for _, name in ipairs(find_files(folder, "*.c")) do
    if not NO_USE[name] and read(name):find(pattern) then return name end
  end
end

describe("keys that configuration.md calls not used yet", function()
  for _, key in ipairs(sorted(ENTRIES)) do
    if ENTRIES[key].unused and RULES[key] then
      it(key .. " is not used", function()
        local place = use_of(key)
        assert.is_nil(place, key .. " is used now: describe what it does, and take the mark away")
      end)
    end
  end
end)

-- Names in all pages.

-- All matches of a pattern in every page and the man page, each with the first page that has it.
local function words_in_pages(pattern)
  local found = {}
  for _, page in ipairs(PAGES) do
    for word in read(page):gmatch(pattern) do found[word] = found[word] or page end
  end
  for word in read_man():gmatch(pattern) do found[word] = found[word] or MAN_PAGE end
  return found
end

local function check(argv, options)
  argv[#argv + 1] = options
  return moonrabbit.run("check", unpack(argv))
end

describe("the pages", function()
  after_each(cleanup)

  it("name no flag that the program does not know", function()
    local argv, own = { "--no-such-flag=" }, {}
    for _, command in ipairs { "dead", "capture" } do
      for flag in moonrabbit.run("help", command).out:gmatch("\n  [^\n]-%-%-(%l[%l-]*)") do
        own[flag] = true
      end
    end
    own.queue = nil -- a key, too
    for flag in pairs(words_in_pages("%-%-(%l[%l-]*)")) do
      if not NO_KEYS[flag] and not own[flag] then argv[#argv + 1] = "--" .. flag .. "=" end
    end
    local said, complaints = check(argv).err, {}
    for flag in said:gmatch('there is no option "([^"]*)"') do complaints[#complaints + 1] = flag end
    assert.same({ "--no-such-flag" }, complaints)
    assert(#argv > #RULES)
  end)

  it("name no variable that the program does not know", function()
    local env, complaints = { MOONRABBIT_NO_SUCH_VARIABLE = "?" }, {}
    for variable in pairs(words_in_pages("MOONRABBIT_[%u_]+%f[^%u_]")) do env[variable] = "?" end
    local said = check({}, { env = env }).err
    for variable in said:gmatch('"([^"]*)", which sets nothing') do complaints[#complaints + 1] = variable end
    assert.same({ "MOONRABBIT_NO_SUCH_VARIABLE" }, complaints)
  end)

  it("name no key that the program does not know", function()
    local groups, strangers = {}, {}
    for _, rule in ipairs(RULES) do groups[rule.path:match("^([%l_]+)%.") or ""] = true end
    local function look(word, page)
      local of_module = word:find("^[lhc]%l+%.%l+$") and page == HANDLER -- of log, http, cache
      if groups[word:match("^[%l_]+")] and not RULES[word] and not groups[word] and not of_module then
        strangers[#strangers + 1] = word .. " in " .. page
      end
    end
    for word, page in pairs(words_in_pages("`([%l_]+%.[%l_.]+)`")) do
      if word ~= "broker.tls" then look(word, page) end
    end
    for word in read_man():gmatch("\n%.I[R]? ([%l_]+%.[%l_]+)%f[^%l_]") do look(word, MAN_PAGE) end
    assert.same({}, strangers)
  end)

  it("link to files that are there", function()
    for _, page in ipairs(PAGES) do
      local folder = page:match("^(.*/)[^/]*$") or ""
      for target in read(page):gmatch("%]%(([^)#:]+)%)") do
        assert(exists(folder .. target), page .. " links to " .. target)
      end
    end
  end)
end)

describe("README.md", function()
  it("names a spec that exists behind everything that it promises", function()
    local missing, promises = {}, 0
    local text = section(read(README), "## What is promised"):gsub("\n%- ", "\0") .. "\0"
    for promise in text:match("%z.*"):gmatch("%z([^%z]+)") do
      promises = promises + 1
      local spec = promise:match("`(spec/[%w_/.]+)`")
      if not spec or not exists(spec) then missing[#missing + 1] = spec or promise end
    end
    assert(promises > 0, "it promises nothing")
    assert.same({}, missing)
  end)
end)

-- Lua in the pages.

-- { text, line, name }: the name is that of a first line such as "-- handler.lua".
local function blocks_of(page)
  local blocks, line, block = {}, 0, nil
  for text in (read(page) .. "\n"):gmatch("(.-)\n") do
    line = line + 1
    if text == "```lua" then
      block = { lines = {}, line = line + 1 }
    elseif text == "```" and block then
      block.text = table.concat(block.lines, "\n")
      block.name = block.text:match("^%-%- ([%w_]+%.lua)")
      blocks[#blocks + 1], block = block, nil
    elseif block then
      block.lines[#block.lines + 1] = text
    end
  end
  return blocks
end

-- A handler that does nothing for each that a configuration names.
local function write_handlers(place, text)
  for name in text:gmatch('handler = "([^"]+)"') do place:write(name, "return function() end\n") end
end

local function check_block(blocks, block)
  local place = workspace.new()
  for _, other in ipairs(blocks) do
    if other.name then place:write(other.name, other.text) end
  end
  local result
  if block.text:find("consumers = ", 1, true) then
    write_handlers(place, block.text)
    place:write("moonrabbit.lua", block.text)
    result = check({}, { cwd = place.path })
  elseif block.text:find("return function", 1, true) or block.text:find("handle = ", 1, true) then
    place:write("block.lua", block.text)
    local words = { "block.lua", "--queue", "docs", "--http-allow", "api.example.com:443" }
    result = check(words, { cwd = place.path })
  else
    return
  end
  assert.equal("", result.err)
  assert.equal(0, result.code)
end

describe("examples", function()
  after_each(cleanup)

  for _, page in ipairs(PAGES) do
    local blocks = blocks_of(page)
    for _, block in ipairs(blocks) do
      it(("%s:%d loads"):format(page, block.line), function()
        assert(loadstring(block.text))
        check_block(blocks, block)
      end)
    end
  end

  it("are there", function()
    for _, page in ipairs { README, CONFIGURATION, HANDLER } do
      assert(#blocks_of(page) > 1, page .. " has none")
    end
  end)
end)

-- handler.md.

local function quoted_names(text)
  local names = {}
  for span in text:gmatch("`([^`]+)`") do names[span] = true end
  return names
end

describe("handler.md", function()
  after_each(cleanup)

  it("has every field of a message, and no other", function()
    local fields, said = {}, {}
    local code = read("runtime/worker/lua_message.c"):match("struct message_field fields%[%] = (%b{})")
    for field in code:gmatch('{ "([%l_]+)", push_') do fields[field] = true end
    local text = section(read(HANDLER), "## The message")
    local rows = text:match("| field |[^\n]*\n[^\n]*\n(.-)\n\n")
    for cell in rows:gmatch("|(.-)|[^\n]*") do
      for name in cell:gmatch("`([%l_]+)`") do said[name] = true end
    end
    assert.same(sorted(fields), sorted(said))
    assert(fields.body)
  end)

  it("has every global and library function of the sandbox", function()
    local place = workspace.new()
    place:write("list.lua", [[
      for _, library in ipairs { "_G", "table", "os" } do
        for name in pairs(_G[library]) do print(name) end
      end
      return function() end]])
    local result = check({ "list.lua", "--queue", "docs", "--log-level", "debug" }, { cwd = place.path })
    local there = {}
    local said = quoted_names(section(read(HANDLER), "## The sandbox"))
    for _, line in ipairs(result.logs) do
      if line.worker and line.level == "info" then there[line.msg] = true end
    end
    assert(there.pcall and there.concat and there.date, result.err)
    assert.same({}, only_in(there, said))
  end)
end)

-- architecture.md.

-- Names by folder, as the tree lists them, and as they are.
local function tree_of_page()
  local tree, folder = {}, nil
  local text = section(read(ARCHITECTURE), "## The tree")
  for line in text:gmatch("[^\n]+") do
    local heading, name = line:match("^    ([%l/]+/)$"), line:match("^      ([%w_]+) +%S")
    folder = heading or folder
    if name then tree[folder .. name] = true end
  end
  return tree
end

local function tree_of_files()
  local tree = {}
  for _, name in ipairs(find_files("runtime", "*.[ch]")) do tree[name:sub(1, -3)] = true end
  for _, name in ipairs(find_files("scripts", "*.lua")) do
    if not name:find("^scripts/dev/") then tree[name:sub(1, -5)] = true end
  end
  for _, name in ipairs(find_files("scripts", "*.html")) do tree[name:sub(1, -6)] = true end
  return tree
end

describe("architecture.md", function()
  it("has a line for every file, and for no other", function()
    local files, lines = tree_of_files(), tree_of_page()
    assert.same({}, only_in(files, lines))
    assert.same({}, only_in(lines, files))
  end)

  it("names constants where they are", function()
    local count = 0
    for row in section(read(ARCHITECTURE), "## What bounds what"):gmatch("\n|([^\n]+)") do
      local file = row:match("`([%l_/]+%.[ch])` |$")
      for constant in row:gmatch("`(%u[%u_]+)`") do
        local there = read("runtime/" .. file):find("%f[%w_]" .. constant .. "%f[^%w_]")
        assert(there, constant .. " is not in " .. file)
        count = count + 1
      end
      assert(not file or exists("runtime/" .. file), file)
    end
    assert(count > 0)
  end)
end)

-- doctor.md.

describe("doctor.md", function()
  it("has every rule of the doctor in its layer, with its severities and its words", function()
    local rows, rules, layer = {}, {}, nil
    for line in section(read(DOCTOR), "## What it finds"):gmatch("[^\n]+") do
      layer = line:match("^### (%a+)$") or layer
      local name, severities, why = line:match("^| `([%l-]+)` | ([%l, ]+) | .+ | (.+) |$")
      if name then rows[name] = table.concat({ layer:lower(), severities, why }, "; ") end
    end
    for _, rule in ipairs(doctor.script "doctor_rules") do
      rules[rule.name] = table.concat({ rule.layer, table.concat(rule.severities, ", "), rule.why }, "; ")
    end
    assert.same(rules, rows)
  end)
end)

-- moonrabbit.1.

describe("moonrabbit.1", function()
  it("is laid out without a warning", function()
    if process.run({ "sh", "-c", "command -v groff" }).code ~= 0 then pending("groff is not installed") end
    local result = process.run({ "groff", "-man", "-Tutf8", "-ww", "-z", root .. "/" .. MAN_PAGE })
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("has every command and option that the program's help has", function()
    local man, missing = read_man(), {}
    for _, topic in ipairs { "run", "check", "dead", "doctor", "capture", "replay" } do
      for flag in moonrabbit.run("help", topic).out:gmatch("\n  [^\n]-(%-%-[%l-]+)") do
        if not man:find(flag, 1, true) then missing[#missing + 1] = flag end
      end
    end
    for command in moonrabbit.run("help").out:gmatch("\n  moonrabbit (%l+)") do
      if not man:find("\n.B " .. command .. "\n", 1, true) then missing[#missing + 1] = command end
    end
    assert.same({}, missing)
  end)
end)
