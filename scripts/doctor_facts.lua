-- Everything that the doctor looks at, gathered into one plain table for its rules: the configuration,
-- whether the handlers load, queues by AMQP, the broker by its HTTP API, and this machine. What cannot be
-- looked at is told, with the reason.
local gather_management = require "moonrabbit.doctor_management"
local gather_system = require "moonrabbit.doctor_system"
local host = require "moonrabbit.host"

local SECOND_LOOK_SECONDS = 1 -- after the first: whether a queue grows

local NO_MANAGEMENT = "no management URL is given: add --management http://user:password@host:15672 " ..
  "(rabbitmq-plugins enable rabbitmq_management starts what answers there)"

-- Whether the handlers load.
local function gather_handlers(world, config)
  if #config.consumers == 0 then return {} end
  local loads, reason = world.check()
  return { checked = true, error = not loads and reason or nil }
end

-- The queues that the configuration names, each once.
local function named_queues(config)
  local names, seen = {}, {}
  local function add(name)
    if name and not seen[name] then names[#names + 1], seen[name] = name, true end
  end
  for _, consumer in ipairs(config.consumers) do
    add(consumer.queue)
    add(consumer.dead_letter)
  end
  return names
end

-- { name = { messages =, consumers = } | false where there is none }; nil where there is no broker.
local function gather_queues(world, config, tell)
  local broker, reason = world.connect()
  if not broker then
    tell.failure("the broker by AMQP", reason)
    return nil
  end
  local queues = {}
  for _, name in ipairs(named_queues(config)) do
    local found, why, lost = world.count(name)
    if lost then
      tell.failure("the broker by AMQP", why)
      break
    end
    if found == nil then tell.unseen("queue " .. name, why) else queues[name] = found end
  end
  return { name = broker, queues = queues, at = host.now() }
end

local function is_waiting(found)
  return found and found.messages > 0 and found.consumers == 0
end

-- Where no statistics tell whether a queue without consumers grows, it is looked at twice.
local function look_again(world, amqp)
  local waiting = {}
  for name, found in pairs(amqp.queues) do
    if is_waiting(found) then waiting[#waiting + 1] = name end
  end
  if #waiting == 0 then return end
  world.sleep(SECOND_LOOK_SECONDS - (host.now() - amqp.at))
  for _, name in ipairs(waiting) do
    local found, _, lost = world.count(name)
    if lost then return end
    if found then
      local seconds = math.max(host.now() - amqp.at, SECOND_LOOK_SECONDS)
      found.growth = (found.messages - amqp.queues[name].messages) / seconds
      amqp.queues[name] = found
    end
  end
end

-- The same queue as the HTTP API and as AMQP have it, in one; a list.
local function join_queues(amqp, management)
  local queues, by_name = {}, {}
  for _, queue in ipairs(management and management.queues or {}) do
    queue.detailed = true
    queues[#queues + 1], by_name[queue.name] = queue, queue
  end
  for name, found in pairs(amqp and amqp.queues or {}) do
    local queue = by_name[name]
    if found and not queue then
      queues[#queues + 1] = { name = name, messages = found.messages, consumers = found.consumers,
        growth = found.growth }
    elseif found then
      queue.messages = queue.messages or found.messages
      queue.consumers = queue.consumers or found.consumers
    end
  end
  table.sort(queues, function(a, b) return a.name < b.name end)
  return queues
end

---@param world table functions in C
---@param config table as runtime/doctor/lua_world.c makes it
---@param tell { unseen: function, failure: function } both are called with what, and why
---@return table facts
return function(world, config, tell)
  local facts = { config = config, handlers = gather_handlers(world, config) }
  facts.amqp = gather_queues(world, config, tell)
  if config.management then
    facts.management = gather_management(world, config.vhost, tell)
  else
    tell.unseen("limits of queues; connections, channels and consumers; memory and alarms of the broker",
      NO_MANAGEMENT)
  end
  facts.system = gather_system(world, tell)
  if facts.amqp and not (facts.management and facts.management.queues) then look_again(world, facts.amqp) end
  facts.queues = join_queues(facts.amqp, facts.management)
  return facts
end
