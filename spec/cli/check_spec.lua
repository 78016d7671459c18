-- `moonrabbit check` through the program itself: what it says of good and bad configurations and handlers.
local moonrabbit = require "support.moonrabbit"
local workspace = require "support.workspace"

describe("check", function()
  local folder

  before_each(function()
    folder = workspace.new()
  end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function check(...)
    local arguments = { "check", ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    return moonrabbit.run(unpack(arguments))
  end

  it("says what it found when all is well", function()
    folder:write("handlers/orders.lua", "return function() end")
    folder:write("handlers/mail.lua", "return { handle = function() end }")
    folder:write("moonrabbit.lua", [[return {
      broker = { urls = { "amqp://user:s3cret@a.example:5673/v", "amqps://b.example" } },
      consumers = {
        { queue = "orders", handler = "handlers/orders.lua", workers = 2, prefetch = 50 },
        { queue = "mail", handler = "handlers/mail.lua",
          limits = { memory = "8MiB", deadline = 5, message = "1MiB" } },
      },
    }]])
    local result = check()
    assert.equal("", result.err)
    assert.equal([[
ok: file moonrabbit.lua
ok: broker amqp://user:***@a.example:5673/v (not asked)
ok: broker amqps://b.example (not asked)
ok: consumer orders runs handlers/orders.lua on queue orders: 2 workers, prefetch 50
    a message has 64MiB of memory, 30s of time, and is 16MiB long at most
ok: consumer mail runs handlers/mail.lua on queue mail: 1 worker, prefetch 10
    a message has 8MiB of memory, 5s of time, and is 1MiB long at most
]], result.out)
    assert.equal(0, result.code)
  end)

  it("needs no configuration file", function()
    folder:write("handler.lua", "return function() end")
    local result = check("handler.lua", "--queue", "q")
    assert.equal("", result.err)
    assert.matches("^ok: no configuration file; command line, environment and defaults\n", result.out)
    assert.equal(0, result.code)
  end)

  it("refuses a configuration with all that is wrong in it", function()
    folder:write("mr.lua", [[return {
      brokr = 1,
      consumers = { { queue = "q", handler = "none.lua", prefetch = 0 } },
    }]])
    local result = check("-c", "mr.lua")
    assert.equal("", result.out)
    assert.equal(2, result.code)
    local _, lines = result.err:gsub("\n", "\n")
    assert.equal(3, lines)
    assert.matches("^moonrabbit: mr.lua: brokr is unknown: did you mean broker%?\n", result.err)
    assert.matches('\nmoonrabbit: mr.lua: consumers%[1%].handler is "none.lua": none.lua cannot', result.err)
    assert.matches("\nmoonrabbit: mr.lua: consumers%[1%].prefetch is 0: without a limit", result.err)
  end)

  for _, case in ipairs {
    { "that does not parse", "return function(", "^moonrabbit: handler.lua:1: [^\n]+\n$" },
    { "that returns no function", "return 5", "^moonrabbit: handler.lua returned [^\n]+\n$" },
    { "that returns nothing", "local x = 1", "^moonrabbit: handler.lua returned nothing[^\n]+\n$" },
    { "that raises an error", "error 'no'", "^moonrabbit: handler.lua:1: no\n$" },
  } do
    it("refuses a handler " .. case[1], function()
      folder:write("handler.lua", case[2])
      local result = check("handler.lua", "--queue", "q")
      assert.matches(case[3], result.err)
      assert.equal("", result.out)
      assert.equal(2, result.code)
    end)
  end
end)
