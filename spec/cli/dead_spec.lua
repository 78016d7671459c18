-- The command line of `moonrabbit dead`: what it takes, what it refuses and in which words. No broker is
-- needed: where all is well it goes on to say that there is none.
local moonrabbit = require "support.moonrabbit"
local workspace = require "support.workspace"

local NOBODY = "amqp://guest:secret@localhost:1/%2f"
local WHICH = "dead wants to know what to do and with which queue: write moonrabbit dead " ..
  "list|show|retry|drop QUEUE"

describe("the command line of dead", function()
  local folder

  before_each(function() folder = workspace.new() end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  local function run(arguments, environment)
    local all = { "dead", unpack(arguments) }
    all[#all + 1] = { cwd = folder.path, env = environment }
    return moonrabbit.run(unpack(all))
  end

  -- Refused with exit code 2, nothing on standard output, and these lines behind the program's name.
  local function assert_refused(lines, ...)
    local result = run({ ... })
    assert.equal("moonrabbit: " .. table.concat(lines, "\nmoonrabbit: ") .. "\n", result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
  end

  -- Understood: it asked for the broker at NOBODY.
  local function assert_tried(result)
    assert.matches("^[^\n]*moonrabbit: broker amqp://localhost:1/%%2f: cannot connect: [^\n]+\n$", result.err)
    assert.equal(1, result.code)
    assert.not_matches("secret", result.err)
  end

  it("wants an action and a queue", function()
    assert_refused({ WHICH })
    assert_refused({ WHICH }, "list")
    assert_refused({ WHICH }, "--max", "5")
    assert_refused({ "dead cannot lst: it can list, show, retry and drop" }, "lst", "q")
    assert_refused({ "dead cannot orders.dead: it can list, show, retry and drop" }, "orders.dead")
    assert_refused({ 'the queue is "": give a name of 1 to 255 bytes' }, "list", "")
    assert_refused({ 'the queue is "' .. ("q"):rep(256) .. '": give a name of 1 to 255 bytes' }, "list",
      ("q"):rep(256))
  end)

  it("refuses what is no number, and no test", function()
    local number = '--max is "%s": give a whole number from 1 to 10000000'
    for _, value in ipairs { "0", "-1", "1.5", "many", "", "10000001", "99999999999999999999" } do
      assert_refused({ number:format(value) }, "list", "q", "--max=" .. value)
    end
    assert_refused({ "--max has no value: write --max N" }, "list", "q", "--max")
    assert_refused({ "--where has no value: write --where NAME=TEXT" }, "list", "q", "--where", "--json")
    assert_refused({ '--where is "older=soon": give a time, such as older=1h' }, "list", "q", "--where",
      "older=soon")
    assert.matches('%-%-where is "tenant=a": give NAME=TEXT, ', run({ "list", "q", "--where=tenant=a" }).err)
    local many = { "list", "q" }
    for i = 1, 33 do many[#many + 1] = "--where=id!=" .. i end
    assert_refused({ "--where id!=33 is one too many: 32 are enough" }, unpack(many))
  end)

  it("refuses options where they mean nothing", function()
    assert_refused({ "--json goes with list and show: retry and drop print one line" },
      "retry", "q", "--json")
    assert_refused({ "--body prints a body and nothing else: it goes with show" }, "list", "q", "--body")
    assert_refused({ "--body prints a body and nothing else: with --json it is there already" },
      "show", "q", "--body", "--json")
    assert_refused({ "--yes goes with drop: nothing else asks" }, "retry", "q", "--yes")
    assert_refused({ "--json takes no value: leave it out" }, "list", "q", "--json=yes")
    assert_refused({ "drop asks before it drops, and nobody is there to answer: add --yes" }, "drop", "q")
  end)

  it("knows the options of the broker, and no others", function()
    assert_refused({ 'there is no option "--prefetch": \'moonrabbit help dead\' says which there are' },
      "list", "q", "--prefetch=5")
    assert_refused({ 'there is no option "--broker-heartbeet": did you mean --broker-heartbeat?' },
      "list", "q", "--broker-heartbeet=5")
    assert_refused({ "there is no option -x: only -c FILE and -h are that short" }, "list", "q", "-x")
    local wrong = run({ "list", "q", "--broker=http://localhost" })
    assert.equal(2, wrong.code)
    assert.matches("begin it with amqp://", wrong.err)
  end)

  it("tells every problem at once", function()
    assert_refused({ '--max is "0": give a whole number from 1 to 10000000',
      "dead cannot lst: it can list, show, retry and drop" }, "--max=0", "lst", "q")
  end)

  it("takes the broker from an option, the environment or the file", function()
    assert_tried(run({ "list", "q", "--broker", NOBODY }))
    assert_tried(run({ "list", "q" }, { MOONRABBIT_BROKER = NOBODY }))
    folder:write("moonrabbit.lua", ('return { broker = { url = "%s" } }'):format(NOBODY))
    assert_tried(run({ "list", "q" }))
    folder:write("other.lua", ('return { broker = { url = "%s" } }'):format(NOBODY))
    folder:write("moonrabbit.lua", "return {}")
    assert_tried(run({ "list", "q", "-c", "other.lua" }))
  end)

  it("does not mind consumers: what is wrong with them is not its business", function()
    folder:write("moonrabbit.lua", ([[return {
      broker = { url = "%s" },
      consumers = { { queue = "orders", handler = "gone.lua", prefetch = 0 } },
    }]]):format(NOBODY))
    assert_tried(run({ "list", "q" }))
    assert_tried(run({ "list", "q" }, { MOONRABBIT_HANDLER = "gone.lua", MOONRABBIT_PREFETCH = "0" }))
    assert.matches("gone%.lua", moonrabbit.run("check", { cwd = folder.path }).err)
  end)

  it("takes ids, several tests and everything after --", function()
    assert_tried(run({ "retry", "q", "m-1", "m-2", "--where", "reason=error", "--where=older=1h",
      "--max", "5", "--broker", NOBODY }))
    assert_tried(run({ "drop", "--yes", "--broker", NOBODY, "q", "--", "--max", "-x" }))
  end)
end)
