-- A load under faults: workers, the program, the broker and what is between them are killed, stopped, cut and
-- slowed down at random while messages flow (support/campaign.lua). An independent checker says what is lost,
-- stuck, handled twice or out of order. `make test` has each of some faults once, `make faults` hundreds.
--
-- MR_FAULTS says how many faults there are in all, MR_FAULTS_SEED which; each campaign tells its seed.
-- MR_FAULTS_KEPT names a folder for journals and logs of campaigns that fail.
local campaign = require "support.campaign"
local checker = require "support.checker"
local kinds = require "support.fault_kinds"

local FAULTS = tonumber(os.getenv "MR_FAULTS")
local SEED = tonumber(os.getenv "MR_FAULTS_SEED") or os.time()
local KEPT = os.getenv "MR_FAULTS_KEPT"

local GENTLE = { kinds.kill_worker, kinds.stop_worker, kinds.reload, kinds.restart, kinds.fill_disk }
local ROUGH = { kinds.kill, kinds.freeze, kinds.kill_broker, kinds.restart_broker, kinds.freeze_broker,
  kinds.alarm, kinds.close_connections, kinds.delete_queue, kinds.refuse_message, kinds.cut,
  kinds.cut_midway, kinds.half_open, kinds.half_open_up, kinds.half_open_down, kinds.delay, kinds.throttle,
  kinds.close_channel }

local ALL = { unpack(GENTLE) }
for _, kind in ipairs(ROUGH) do ALL[#ALL + 1] = kind end

local function keep(name, result)
  for ending, text in pairs { journal = assert(io.open(result.journal)):read "*a", log = result.log } do
    local file = assert(io.open(("%s/%s.%s"):format(KEPT, name, ending), "w"))
    file:write(text)
    file:close()
  end
end

describe("a load", function()
  after_each(require "support.cleanup")

  local function say(...)
    io.stdout:write("# ", table.concat({ ... }), "\n")
    io.stdout:flush()
  end

  local function report(name, result)
    local faults = {}
    for kind, times in pairs(result.counts) do faults[#faults + 1] = ("%d x %s"):format(times, kind) end
    table.sort(faults)
    local sentence, good = checker.describe(result)
    say(name, ", seed ", SEED, ": ", table.concat(faults, ", "))
    say(name, ": ", sentence)
    if KEPT and not (good and #result.complaints == 0) then keep(name, result) end
  end

  -- `share` of all faults, where so many are asked for; else each of `few` once.
  local function run(name, share, few, options)
    options.count, options.seed = FAULTS and math.ceil(FAULTS * share), SEED + #name -- other faults in each
    options.kinds = FAULTS and options.kinds or few
    options.tell = FAULTS and function(line) say(name, ": ", line) end or function() end
    local result = campaign.run(options)
    report(name, result)
    assert.is_true(select(2, checker.describe(result)), ("the seed was %d"):format(SEED))
    assert.same({}, result.complaints)
  end

  it("of which workers die and stop, under reloads and restarts, is handled once each", function()
    run("gentle", 0.25, { kinds.kill_worker, kinds.stop_worker, kinds.reload, kinds.restart },
      { kinds = GENTLE })
  end)

  it("under faults of every kind loses nothing", function()
    run("rough", 0.35, { kinds.kill, kinds.throttle, kinds.cut_midway, kinds.kill_broker, kinds.close_channel,
      kinds.delete_queue }, { kinds = ALL, network = true, concurrency = 4 })
  end)

  it("keeps its order under faults of every kind, for each key and with one worker", function()
    run("ordered", 0.25, { kinds.kill_worker, kinds.cut, kinds.kill, kinds.half_open },
      { kinds = ALL, network = true, ordered = true })
  end)

  if FAULTS then
    it("of a quorum queue loses nothing under faults of every kind", function()
      run("quorum", 0.15, ALL, { kinds = ALL, network = true, quorum = true })
    end)
  end
end)
