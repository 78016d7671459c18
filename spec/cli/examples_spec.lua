-- The examples: each folder has a spec that holds, by `moonrabbit test`, a configuration that `moonrabbit
-- check` finds in order, and its row in the README. The spec that testing.md shows holds too. No broker is
-- needed.
local dirent = require "posix.dirent"
local moonrabbit = require "support.moonrabbit"
local project = require "support.project"
local workspace = require "support.workspace"
local read, root = project.read, project.root

-- Names in a folder of the project, sorted.
local function names_in(folder)
  local names = {}
  for name in dirent.files(root .. "/" .. folder) do
    if name:sub(1, 1) ~= "." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Every test that the last line of TAP announces has passed, none was left out.
local function assert_passes(result)
  assert.equal("", result.err)
  local tests = tonumber(result.out:match("\n1%.%.(%d+)\n$"))
  assert(tests and tests > 0, "no tests: " .. result.out)
  local _, passed = ("\n" .. result.out):gsub("\nok %d+ %- ", "")
  assert.equal(tests, passed, result.out)
  assert.is_nil(result.out:find("# SKIP", 1, true), result.out)
  assert.equal(0, result.code)
end

local EXAMPLES = names_in "examples"

describe("examples", function()
  after_each(moonrabbit.cleanup)

  for _, name in ipairs(EXAMPLES) do
    local folder = "examples/" .. name

    it(name .. " has a spec, which holds", function()
      assert(read(("%s/%s_spec.lua"):format(folder, name)))
      assert_passes(moonrabbit.run("test", "--output=TAP", folder, { cwd = root }))
    end)

    it(name .. " has a configuration of all its handlers, with its command at its top", function()
      local file = folder .. "/moonrabbit.lua"
      local result = moonrabbit.run("check", "-c", file, { cwd = root })
      assert.equal("", result.err)
      assert.equal(0, result.code)
      for _, script in ipairs(names_in(folder)) do
        if script ~= "moonrabbit.lua" and not script:find("_spec.lua", 1, true) then
          assert(result.out:find(("runs %s/%s "):format(folder, script), 1, true), script .. " is not run")
        end
      end
      local top = read(file):match("^%-%-.-\nreturn")
      assert(top and top:find("moonrabbit run -c " .. file .. "\n", 1, true), "the command is not at its top")
    end)

    it(name .. " is in the README", function()
      assert(read("README.md"):find(("\n| [`%s`](%s) | "):format(folder, folder), 1, true))
    end)
  end

  it("are there", function()
    assert(#EXAMPLES > 0)
  end)
end)

describe("the spec in testing.md", function()
  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  it("holds", function()
    local place = workspace.new()
    local text = assert(read("runtime/doc/testing.md"):match("```lua\n(%-%- spec/orders_spec%.lua.-)```"))
    place:write("spec/orders_spec.lua", text)
    place:write("orders.lua", read("examples/orders/handler.lua"))
    assert_passes(moonrabbit.run("test", "--output=TAP", { cwd = place.path }))
  end)
end)
