-- What goes wrong in a campaign of faults (support/campaign.lua). A kind has a name; `act`, which returns
-- when it is done to the campaign's program, broker or network; `loses`: over how many of the program's two
-- connections messages that are in flight may be sent a second time; and `share`: how often it comes, as
-- against others. `forgets`: the broker may have forgotten acks.
local linux = require "support.linux"
local posix_signal = require "posix.signal"
local rabbit = require "support.rabbit"

local HALF_OPEN_SECONDS = 60 -- in which both sides must have found out
local CUT_SECONDS = 1        -- in which so many bytes go over each connection that are waited for
local CUT_BYTES = 3000
local SLOW_SECONDS = 1
local FROZEN_SECONDS = 8 -- the broker misses heartbeats for two to three of their intervals
local DELAY_MS = 150
local BYTES_PER_SECOND = 40000
local LOG_LEAST = 4096 -- what the program maps for a worker must fit into its limit

local kinds = {}

-- Workers and the program: over these nothing is handled twice.

local function signal_a_worker(campaign, signal)
  local children = campaign.program:children()
  if #children > 0 then posix_signal.kill(children[math.random(#children)], signal) end
end

kinds.kill_worker = { name = "kill a worker", loses = 0, share = 4, act = function(campaign)
  signal_a_worker(campaign, posix_signal.SIGKILL)
end }

kinds.stop_worker = { name = "stop a worker", loses = 0, share = 2, act = function(campaign)
  signal_a_worker(campaign, posix_signal.SIGSTOP)
end }

kinds.reload = { name = "reload", loses = 0, share = 2, act = function(campaign)
  assert(campaign.program:kill "HUP")
end }

kinds.restart = { name = "restart the program", loses = 0, share = 2, act = function(campaign)
  campaign:stop()
  campaign:start()
end }

kinds.fill_disk = { name = "no room for the log", loses = 0, share = 2, act = function(campaign)
  local pid = campaign.program.pid
  linux.limit_files(pid, math.max(#campaign.program:stderr(), LOG_LEAST))
  campaign:fill()
  linux.sleep(SLOW_SECONDS)
  linux.limit_files(pid)
end }

kinds.kill = { name = "kill the program", loses = 1, share = 3, act = function(campaign)
  campaign:kill()
  campaign:start()
end }

-- As where its machine is suspended: the broker gives it up in the meantime.
kinds.freeze = { name = "freeze the program", loses = 2, share = 1, act = function(campaign)
  assert(campaign.program:kill "STOP")
  linux.sleep(FROZEN_SECONDS)
  assert(campaign.program:kill "CONT")
end }

-- The broker.

kinds.kill_broker = { name = "kill the broker", loses = 2, share = 1, forgets = true, act = function()
  rabbit.kill_broker()
  rabbit.start_broker()
end }

kinds.restart_broker = { name = "restart the broker", loses = 2, share = 1, act = rabbit.restart_broker }

kinds.freeze_broker = { name = "freeze the broker", loses = 0, share = 1, act = function()
  rabbit.freeze_broker()
  linux.sleep(SLOW_SECONDS / 2)
  rabbit.thaw_broker()
end }

-- rabbitmqctl takes its time; there should be some load left then.
local function fill_for_long(campaign)
  for _ = 1, 4 do campaign:fill() end
end

kinds.alarm = { name = "raise the memory alarm", loses = 0, share = 1, act = function(campaign)
  fill_for_long(campaign)
  rabbit.raise_memory_alarm()
  linux.sleep(SLOW_SECONDS)
  rabbit.end_memory_alarm()
end }

kinds.close_connections = { name = "close every connection", loses = 2, share = 1, act = function(campaign)
  fill_for_long(campaign)
  assert(rabbit.ctl("close_all_connections", "a fault"))
end }

kinds.delete_queue = { name = "delete a queue", loses = 0, share = 2, act = function(campaign)
  assert(assert(rabbit.connect()):delete(campaign.side))
  campaign:wait_for_side()
  campaign:fill_side()
end }

-- The publishing channel, over a message of which the broker wants nothing to know.
kinds.refuse_message = { name = "refuse a message", loses = 1, share = 2, act = function(campaign)
  campaign:fill_strange()
end }

-- What is between them; only where the campaign has a proxy.

kinds.cut = { name = "cut", loses = 2, share = 3, act = function(campaign) campaign.proxy:tell "cut" end }

kinds.cut_midway = { name = "cut in the middle of a frame", loses = 2, share = 3, act = function(campaign)
  campaign.proxy:tell("cut", math.random(CUT_BYTES))
  rabbit.eventually(function() return campaign.proxy:dying() == 0 end, CUT_SECONDS)
  campaign.proxy:tell "cut"
end }

local function half_open(name, way)
  return { name = name, loses = 2, share = 1, act = function(campaign)
    campaign.proxy:tell("hole", way)
    assert(rabbit.eventually(function() return campaign.proxy:dying() == 0 end, HALF_OPEN_SECONDS),
      "a half-open connection is not noticed")
  end }
end

kinds.half_open = half_open("half-open", "both")
kinds.half_open_up = half_open("half-open to the broker", "up")
kinds.half_open_down = half_open("half-open from the broker", "down")

local function slowly(name, command, amount)
  return { name = name, loses = 0, share = 2, act = function(campaign)
    campaign.proxy:tell(command, amount)
    linux.sleep(SLOW_SECONDS)
    campaign.proxy:tell "pass"
  end }
end

kinds.delay = slowly("delay", "delay", DELAY_MS)
kinds.throttle = slowly("throttle", "throttle", BYTES_PER_SECOND)

-- basic.ack of a delivery that nobody has heard of, for which the broker closes the channel.
local STRANGE_ACK = "01%04x0000000d003c00507fffffffffffffff00ce"

kinds.close_channel = { name = "close a channel by an error", loses = 2, share = 2, act = function(campaign)
  campaign.proxy:tell("inject", STRANGE_ACK:format(math.random(2)))
end }

return kinds
