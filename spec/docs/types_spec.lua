-- What editors are told of handlers against what is so: the luacheck std has the sandbox's globals, the
-- annotations a message's fields and the modules' functions. No broker is needed.
local moonrabbit = require "support.moonrabbit"
local project = require "support.project"
local workspace = require "support.workspace"
local read, root = project.read, project.root

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- The names that a script prints, one line of the log each.
local function printed(script)
  local place = workspace.new()
  place:write("list.lua", script .. "\nreturn function() end")
  local result = moonrabbit.run("check", "list.lua", "--queue", "types", "--log-level", "debug",
    { cwd = place.path })
  local names = {}
  for _, line in ipairs(result.logs) do
    if line.worker and line.level == "info" then names[line.msg] = true end
  end
  return names
end

-- The fields of a class in the annotations.
local function fields_of(class)
  local text = read("scripts/types/moonrabbit.lua") .. "\n\n"
  local lines = assert(text:match("%-%-%-@class moonrabbit%." .. class .. "%f[^%w][^\n]*\n(.-)\n\n"), class)
  local names = {}
  for name in lines:gmatch("%-%-%-@field ([%w_]+)") do names[name] = true end
  return names
end

describe("what editors are told", function()
  after_each(function()
    workspace.cleanup()
    moonrabbit.cleanup()
  end)

  it("has every global of the sandbox, and no other", function()
    local there = printed [[
      for name, value in pairs(_G) do
        if type(value) ~= "table" or name == "_G" then print(name) end
      end
      for _, library in ipairs { "string", "table", "math", "bit", "coroutine", "os" } do
        for name in pairs(_G[library]) do print(library .. "." .. name) end
      end]]
    local told = {}
    for name, entry in pairs(dofile(root .. "/scripts/types/luacheck.lua").read_globals) do
      if not entry.fields then told[name] = true end
      for field in pairs(entry.fields or {}) do told[name .. "." .. field] = true end
    end
    assert.same(sorted(there), sorted(told))
  end)

  it("has every field of a message, and no other", function()
    local fields = {}
    local code = read("runtime/worker/lua_message.c"):match("struct message_field fields%[%] = (%b{})")
    for field in code:gmatch('{ "([%l_]+)", push_') do fields[field] = true end
    assert.same(sorted(fields), sorted(fields_of "Message"))
    fields.queue, fields.body_base64, fields.headers_base64 = nil, true, true
    assert.same(sorted(fields), sorted(fields_of "TestMessage"))
  end)

  for class, module in pairs { Log = "log", Memory = "memory" } do
    it("has every function of " .. module .. ", and no other", function()
      local there = printed(('for name in pairs(require "%s") do print(name) end'):format(module))
      assert.same(sorted(there), sorted(fields_of(class)))
    end)
  end

  it("has every function of cache and its spaces, and no other", function()
    local there = printed 'for name in pairs(require "cache") do print(name) end'
    there.space = nil
    assert.same(sorted(there), sorted(fields_of "Space"))
    assert.same({ "space" }, sorted(fields_of "Cache"))
  end)

  it("has every method of a worker on trial, and no other", function()
    local there = {}
    for name in read("scripts/test.lua"):gmatch("\nfunction Worker:([%w_]+)") do there[name] = true end
    assert.same(sorted(there), sorted(fields_of "TestWorker"))
  end)
end)
