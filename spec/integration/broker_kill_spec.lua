-- The broker is killed, as by a power cut, at random instants in a run of failures, retries and dead letters:
-- nothing is lost. What is handled or buried twice had been under way, or was not written down by the broker.
-- MR_BROKER_KILLS says how often (where it does not 3, or 1 of the slow AddressSanitizer build), and
-- MR_BROKER_KILL_MESSAGES of how many messages the run is.
local consumer = require "support.consumer"
local mix = require "support.mix"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"

local IS_ASAN = moonrabbit.path:find("asan", 1, true) ~= nil
local KILLS = tonumber(os.getenv "MR_BROKER_KILLS") or (IS_ASAN and 1 or 3)
local COUNT, PREFETCH = tonumber(os.getenv "MR_BROKER_KILL_MESSAGES") or 2000, 50

describe("a broker that is killed in the middle of a mixed load", function()
  after_each(require "support.cleanup")

  local function run(options)
    local queue, dead = rabbit.queue("kill", options), rabbit.name "kill-dead"
    local flags = { ["dead-letter"] = dead, ["exit-when-idle"] = "6s", prefetch = PREFETCH, workers = 4,
      ["retry-jitter"] = 0 }
    for name, value in pairs(mix.FLAGS) do
      flags[name] = flags[name] or value
    end
    -- The delay queues are made and written down before the first kill.
    mix.fill(queue, 20)
    consumer.finish(consumer.start(queue, mix.HANDLER, flags))
    assert(rabbit.connect():drain(dead))
    rabbit.write_to_disk()
    mix.fill(queue, COUNT)
    local program = consumer.start(queue, mix.HANDLER, flags)
    math.randomseed(os.time())
    for kill = 1, KILLS do
      -- Somewhere in the part of the run that is this kill's; what is handled again counts, too.
      consumer.wait_handled(program, math.floor(COUNT * (kill - math.random()) / (KILLS + 1)))
      rabbit.kill_broker()
      rabbit.start_broker()
    end
    consumer.finish(program)
    consumer.assert_left(queue, 0)
    local duplicates = mix.assert_outcome(program, queue, dead, COUNT, false)
    -- Of each kill: what was unsettled at the program, as deliveries and as retries or letters that were
    -- published and not confirmed; and what the broker itself had not written down, such as acks of a classic
    -- queue.
    print(("# %d kills, %d again"):format(KILLS, duplicates))
  end

  it("loses nothing", function()
    run()
  end)

  it("loses nothing of a quorum queue", function()
    run { arguments = { ["x-queue-type"] = "quorum" } }
  end)
end)
