-- The specs of the examples, and the one that testing.md shows, hold: run by `moonrabbit test`. No broker is
-- needed.
local moonrabbit = require "support.moonrabbit"
local root = require "support.root"
local workspace = require "support.workspace"

local function read(name)
  local file = assert(io.open(root .. "/" .. name))
  local text = file:read("*a")
  file:close()
  return text
end

local function assert_passes(result, tests)
  assert.equal("", result.err)
  assert.matches("1%.%." .. tests .. "\n", result.out)
  assert.is_nil(result.out:find("not ok", 1, true), result.out)
  assert.equal(0, result.code)
end

describe("the specs of the examples", function()
  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  for folder, tests in pairs { orders = 3, dedupe = 4 } do
    it("hold for " .. folder, function()
      assert_passes(moonrabbit.run("test", "--output=TAP", "examples/" .. folder, { cwd = root }), tests)
    end)
  end

  it("hold for what testing.md shows", function()
    local place = workspace.new()
    local text = assert(read("runtime/doc/testing.md"):match("```lua\n(%-%- spec/orders_spec%.lua.-)```"))
    place:write("spec/orders_spec.lua", text)
    place:write("orders.lua", read("examples/orders/handler.lua"))
    assert_passes(moonrabbit.run("test", "--output=TAP", { cwd = place.path }), 2)
  end)
end)
