-- The command line of `moonrabbit capture`: what it takes, what it refuses and in which words. No broker is
-- needed: where all is well it goes on to say that there is none.
local moonrabbit = require "support.moonrabbit"
local workspace = require "support.workspace"

local NOBODY = "amqp://guest:secret@localhost:1/%2f"
local FROM_WHERE = "capture wants to know from where: write --queue NAME, or --tap EXCHANGE"
local HOW_MANY = "capture wants to know how many messages at the most: write --max N"

describe("the command line of capture", function()
  local folder

  before_each(function() folder = workspace.new() end)

  after_each(function()
    moonrabbit.cleanup()
    workspace.cleanup()
  end)

  -- Refused with exit code 2, nothing on standard output, and these lines behind the program's name.
  local function assert_refused(lines, ...)
    local arguments = { "capture", ... }
    arguments[#arguments + 1] = { cwd = folder.path }
    local result = moonrabbit.run(unpack(arguments))
    assert.equal("moonrabbit: " .. table.concat(lines, "\nmoonrabbit: ") .. "\n", result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
  end

  -- Understood: it asked for the broker at NOBODY.
  local function assert_tried(arguments, environment)
    table.insert(arguments, 1, "capture")
    arguments[#arguments + 1] = { cwd = folder.path, env = environment }
    local result = moonrabbit.run(unpack(arguments))
    assert.matches("^moonrabbit: broker amqp://localhost:1/%%2f: cannot connect: [^\n]+\n$", result.err)
    assert.same({ 1, "" }, { result.code, result.out })
  end

  it("wants to know from where, and how many", function()
    assert_refused({ FROM_WHERE, HOW_MANY })
    assert_refused({ FROM_WHERE }, "--max", "5")
    assert_refused({ HOW_MANY }, "--queue", "q")
    assert_refused({ HOW_MANY }, "--tap", "shop")
    assert_refused({ "--queue and --tap are both given: messages come from one of them" }, "--queue", "q",
      "--tap", "shop", "--max", "5")
    assert_refused({ "--routing-key goes with --tap: a queue gives all that is in it" }, "--queue", "q",
      "--routing-key", "k", "--max", "5")
  end)

  it("refuses what is no number, no name and no file", function()
    for _, value in ipairs { "0", "-1", "1.5", "many", "", "100000001", "99999999999999999999" } do
      assert_refused({ ('--max is "%s": give a whole number from 1 to 100000000'):format(value) },
        "--queue=q", "--max=" .. value)
    end
    assert_refused({ "--max is too large: 65535 messages of a queue are the most, since they are out of " ..
      "it meanwhile" }, "--queue=q", "--max=65536")
    for _, name in ipairs { "", ("q"):rep(256) } do
      assert_refused({ "--queue is no name: give one of 1 to 255 bytes" }, "--queue=" .. name, "--max=5")
      assert_refused({ "--tap is no name: give one of 1 to 255 bytes" }, "--tap=" .. name, "--max=5")
    end
    assert_refused({ "--routing-key is too long: AMQP allows 255 bytes" }, "--tap=t", "--max=5",
      "--routing-key=" .. ("k"):rep(256))
    assert_refused({ "-o names no file: write -o FILE, or -o - for standard output" }, "--queue=q",
      "--max=5", "--output=")
    assert_refused({ "--output has no value: moonrabbit help capture says what it takes" }, "--queue=q",
      "--max=5", "-o")
    assert_refused({ "--max has no value: moonrabbit help capture says what it takes" }, "--queue=q", "--max",
      "--json")
    assert_refused({ "--json takes no value: leave it out" }, "--queue=q", "--max=5", "--json=yes")
  end)

  it("refuses what is given twice, and words", function()
    assert_refused({ "--queue is given twice: give it once" }, "--queue=q", "--queue=r", "--max=5")
    assert_refused({ "-o is given twice: give it once" }, "--queue=q", "-oa", "-o", "b", "--max=5")
    assert_refused({ "capture takes no words, and orders is one: a queue is --queue NAME, a file -o FILE" },
      "orders", "--max=5")
  end)

  it("knows the options of the broker, and no others", function()
    assert_refused({ 'there is no option "--prefetch": \'moonrabbit help capture\' says which there are' },
      "--queue=q", "--max=5", "--prefetch=5")
    assert_refused({ 'there is no option "--broker-heartbeet": did you mean --broker-heartbeat?' },
      "--queue=q", "--max=5", "--broker-heartbeet=5")
    assert_refused({ "there is no option -x: only -c FILE, -o FILE and -h are that short" }, "--queue=q",
      "--max=5", "-x")
  end)

  it("takes the broker from an option, the environment or the file", function()
    assert_tried { "--queue", "q", "--max", "5", "--broker", NOBODY }
    assert_tried { "--tap=shop", "--routing-key=", "--max=100000000", "--json", "-o-", "--broker", NOBODY }
    assert_tried({ "--queue=q", "--max=65535" }, { MOONRABBIT_BROKER = NOBODY })
    folder:write("moonrabbit.lua", ('return { broker = { url = "%s" }, consumers = { { queue = 1 } } }')
      :format(NOBODY))
    assert_tried { "--queue=q", "--max=1" }
  end)

  it("says that a file cannot be written, before it asks the broker", function()
    for path, reason in pairs {
      ["none/x.ndjson"] = "No such file or directory", ["."] = "Is a directory",
      [("x"):rep(5000)] = "File name too long",
    } do
      assert_refused({ ("cannot write %s: %s"):format(path, reason):sub(1, 1023) }, "--queue=q", "--max=5",
        "--broker=" .. NOBODY, "-o", path)
    end
  end)

  it("leaves the file alone, and nothing beside it, where there is no broker", function()
    folder:write("old.ndjson", "old")
    assert_tried { "--queue=q", "--max=5", "--broker", NOBODY, "-o", "old.ndjson" }
    assert_tried { "--queue=q", "--max=5", "--broker", NOBODY, "-o", "new.ndjson" }
    assert.same({ "old.ndjson" }, folder:names())
    assert.equal("old", folder:read("old.ndjson"))
  end)
end)
