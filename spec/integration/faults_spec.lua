-- A load under faults: workers, the program, the broker and what is between them are killed, stopped and cut
-- at random while messages flow from one queue through handlers into another. Who checks what came of it
-- looks only at the queues: each message is where it belongs, or it is lost. `make faults` has more of it.
--
-- MR_FAULTS says how many faults there are, MR_FAULTS_SEED which; a campaign tells its seed.
local consumer = require "support.consumer"
local linux = require "support.linux"
local rabbit = require "support.rabbit"
local signal = require "posix.signal"
local workspace = require "support.workspace"

local FAULTS = tonumber(os.getenv "MR_FAULTS")
local SEED = tonumber(os.getenv "MR_FAULTS_SEED") or os.time()
local BATCH = 200 -- messages for each fault
local STUCK_SECONDS = 60 -- after the last fault nothing takes longer

-- Passes on what it gets. Of each 100 some fail once, one is rejected, and with `strange` one is first
-- published to where nobody is, over which the broker closes the channel.
local HANDLER = [[
  return function(order, message)
    local place = order.id %% 100
    spin(0.002)
    if place == 99 then return "reject" end
    if place < 5 and message.attempt == 1 then error "once" end
    if %s and place == 50 and message.attempt == 1 then message:publish("no-such-exchange", "", "") end
    message:publish("", %q, message.body, { message_id = message.id })
  end
]]

-- The side consumer's queue is deleted now and then.
local CONFIGURATION = [[
  local more = { attempts = 1000, delay = "200ms", factor = 1, jitter = 0 }
  return {
    broker = { url = %q },
    consumers = {
      { queue = %q, handler = "handler.lua", workers = 3, prefetch = 50, retry = more, dead_letter = %q,
        limits = { deadline = "2s", grace = "200ms" } },
      { queue = %q, handler = "handler.lua", declare = { durable = true }, retry = more },
    },
  }
]]

-- The scene: queues, and a program between them.

local function start(campaign)
  campaign.program = consumer.start_configured(campaign.space)
  consumer.wait_consuming(campaign.program)
end

local function open(options)
  local campaign = { queue = rabbit.queue("faults", options.queue), out = rabbit.queue("out", options.queue),
    dead = rabbit.name "faults-dead", side = rabbit.name "side", space = workspace.new(), count = 0,
    told = {}, passed = {}, buried = {} }
  consumer.write_handler(campaign.space, HANDLER:format(tostring(options.strange), campaign.out))
  campaign.space:write("moonrabbit.lua", CONFIGURATION:format(rabbit.url, campaign.queue, campaign.dead,
    campaign.side))
  start(campaign)
  return campaign
end

local function passed_on(campaign)
  local out = rabbit.queue_info(campaign.out)
  local dead = rabbit.queue_info(campaign.dead)
  return out and out.messages + (dead and dead.messages or 0) or 0
end

local function fill(campaign, queue, count)
  consumer.fill(queue, count, { from = campaign.count + 1 })
  campaign.count = campaign.count + count
end

-- What goes wrong.

local function a_worker(campaign)
  local children = campaign.program:children()
  return children[math.random(#children)]
end

local function end_program(campaign, name)
  assert(campaign.program:kill(name))
  local code = campaign.program:wait(consumer.PATIENCE)
  assert(name == "KILL" or code == 0, campaign.program:stderr():sub(-2000))
end

-- Of these no message is handled twice.
local gentle = {
  { "kill a worker", function(campaign)
    local pid = a_worker(campaign)
    if pid then signal.kill(pid, signal.SIGKILL) end
  end },
  { "stop a worker", function(campaign)
    local pid = a_worker(campaign)
    if pid then signal.kill(pid, signal.SIGSTOP) end
  end },
  { "reload", function(campaign) assert(campaign.program:kill "HUP") end },
  { "restart the program", function(campaign)
    end_program(campaign, "TERM")
    start(campaign)
  end },
}

local rough = {
  { "kill the program", function(campaign)
    end_program(campaign, "KILL")
    start(campaign)
  end },
  { "kill the broker", function()
    rabbit.kill_broker()
    rabbit.start_broker()
  end },
  { "restart the broker", function() rabbit.restart_broker() end },
  { "freeze the broker", function()
    rabbit.freeze_broker()
    linux.sleep(0.5)
    rabbit.thaw_broker()
  end },
  { "cut every connection", function() rabbit.ctl("close_all_connections", "a fault") end },
  { "raise the memory alarm", function()
    rabbit.raise_memory_alarm()
    rabbit.end_memory_alarm()
  end },
  { "delete a queue", function(campaign)
    local connection = rabbit.connect()
    if connection then connection:delete(campaign.side) end
  end },
}

-- The campaign.

local function inject(campaign, fault)
  local name, act = fault[1], fault[2]
  local before = passed_on(campaign)
  fill(campaign, campaign.queue, BATCH)
  local moment = before + math.random(0, BATCH - 1)
  rabbit.eventually(function() return passed_on(campaign) >= moment end, STUCK_SECONDS)
  act(campaign)
  campaign.told[name] = (campaign.told[name] or 0) + 1
end

-- Adds how often each id is in a queue, which is empty then.
local function take(queue, times)
  for _, message in ipairs(assert(assert(rabbit.connect()):drain(queue))) do
    local id = tonumber(message.properties.message_id)
    times[id] = (times[id] or 0) + 1
  end
end

-- The ids that are not where they belong, or also elsewhere; and how many times too often the others are.
local function verdict_of(campaign)
  local lost, duplicated = {}, 0
  for id = 1, campaign.count do
    local right, wrong = campaign.passed[id] or 0, campaign.buried[id] or 0
    if id % 100 == 99 then right, wrong = wrong, right end
    if right == 0 or wrong > 0 then lost[#lost + 1] = id end
    duplicated = duplicated + math.max(right - 1, 0)
  end
  return lost, duplicated
end

local function report(campaign, lost, duplicated, stuck)
  local faults = {}
  for name, times in pairs(campaign.told) do faults[#faults + 1] = ("%d x %s"):format(times, name) end
  table.sort(faults)
  print(("# seed %d, %d messages; %s: lost %d, duplicated %d, stuck %d"):format(SEED, campaign.count,
    table.concat(faults, ", "), #lost, duplicated, stuck))
end

-- The names of retry queues are written down before the broker is first killed (support/rabbit.lua).
local function settle_in(campaign)
  fill(campaign, campaign.queue, 100)
  assert(rabbit.eventually(function() return passed_on(campaign) >= campaign.count end, STUCK_SECONDS))
  rabbit.write_to_disk()
end

local function end_of(campaign)
  assert(rabbit.eventually(function()
    local info = rabbit.queue_info(campaign.side)
    return info and info.consumers == 1
  end, STUCK_SECONDS), "the side queue is not consumed any more")
  fill(campaign, campaign.side, 10)
  rabbit.eventually(function()
    take(campaign.out, campaign.passed)
    take(campaign.dead, campaign.buried)
    return #verdict_of(campaign) == 0
  end, STUCK_SECONDS)
  end_program(campaign, "TERM")
  take(campaign.out, campaign.passed)
  take(campaign.dead, campaign.buried)
  local left = assert(rabbit.counts(campaign.queue))
  return left.ready + left.unacked
end

---@param faults table[] each once and in random order, or so many of them
---@return integer duplicated
local function run(faults, count, options)
  math.randomseed(SEED)
  local campaign, left = open(options), {}
  settle_in(campaign)
  for _ = 1, count or #faults do
    if #left == 0 then left = { unpack(faults) } end
    inject(campaign, table.remove(left, math.random(#left)))
  end
  local stuck = end_of(campaign)
  local lost, duplicated = verdict_of(campaign)
  report(campaign, lost, duplicated, stuck)
  assert.same({ {}, 0 }, { lost, stuck }, ("lost and stuck; the seed was %d"):format(SEED))
  return duplicated
end

local function all_faults()
  local all = { unpack(gentle) }
  for _, fault in ipairs(rough) do all[#all + 1] = fault end
  return all
end

describe("a load", function()
  after_each(require "support.cleanup")

  it("of which workers die and stop, under reloads and restarts, is handled once each", function()
    assert.equal(0, run(gentle, FAULTS, {}))
  end)

  it("under faults of every kind loses nothing", function()
    run(FAULTS and all_faults() or { rough[1], rough[2], rough[5], rough[7] }, FAULTS, { strange = true })
  end)

  if FAULTS then
    it("of a quorum queue loses nothing under faults of every kind", function()
      run(all_faults(), FAULTS, { strange = true, queue = { arguments = { ["x-queue-type"] = "quorum" } } })
    end)
  end
end)
