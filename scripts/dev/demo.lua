-- The demo's orders and its story: `publish` puts the orders into the queue of examples/orders, `report LOG`
-- tells what became of them by the program's own log and by what the broker still holds.
local amqp = require "amqp"
local cjson = require "cjson"

local ORDERS = 1000
local QUEUE = "orders"

-- The same arguments as `declare` in examples/orders/moonrabbit.lua: the broker refuses a second, different
-- declare.
local DECLARE = {
  durable = true,
  arguments = { ["x-max-length"] = 100000, ["x-overflow"] = "reject-publish" },
}

local GOODS = { "carrot", "lantern", "telescope", "moon map", "rabbit's blanket", "tea kettle" }

-- What is wrong with the few orders that are not in order.
local BLUNDERS = {
  [123] = function(order) order.total = nil end,
  [256] = function(order) order.total = order.total + 1 end,
  [404] = function(order) order.items, order.total = {}, 0 end,
  [512] = function(order) order.total = nil end,
  [777] = function() return '{"id": 777, "items": [{"goods": "carr' end,
  [911] = function(order) order.total = 0 end,
}

local function connect()
  return assert(amqp.connect({ port = tonumber(os.getenv("MR_BROKER_PORT")) }))
end

local function say(format, ...)
  print("  " .. format:format(...))
end

local function grouped(number)
  local text = ("%d"):format(number)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function make_order(id)
  local order = { id = id, customer = "customer-" .. math.random(200), items = {}, total = 0 }
  for i = 1, math.random(4) do
    local goods = GOODS[math.random(#GOODS)]
    local item = { goods = goods, quantity = math.random(5), price = math.random(99, 4999) }
    order.items[i] = item
    order.total = order.total + item.quantity * item.price
  end
  return order
end

local function publish()
  local connection = connect()
  assert(connection:declare(QUEUE, DECLARE))
  assert(connection:confirm_select())
  math.randomseed(1969)
  for id = 1, ORDERS do
    local order = make_order(id)
    local body = BLUNDERS[id] and BLUNDERS[id](order) or cjson.encode(order)
    local properties = { content_type = "application/json", delivery_mode = 2, message_id = "order-" .. id }
    assert(connection:publish("", QUEUE, body, properties))
  end
  connection:close()
  say("%s orders are in the queue '%s'. A few of them are wrong on purpose.", grouped(ORDERS), QUEUE)
end

-- "2026-11-24T03:34:08.130Z" -> seconds of its day
local function seconds_of(time)
  local hours, minutes, seconds = time:match("T(%d+):(%d+):([%d.]+)Z")
  return hours * 3600 + minutes * 60 + seconds
end

-- What the log says: the counts at the end, each rejection, and of the accepted orders how many, their sum,
-- and the times of the first and the last.
local function read_log(path)
  local log = { rejections = {}, accepted = 0, worth = 0 }
  for line in io.lines(path) do
    local entry = cjson.decode(line)
    if entry.msg == "consumer stopped" then
      log.counts = entry
    elseif entry.msg == "order accepted" then
      log.accepted = log.accepted + 1
      log.worth = log.worth + entry.total
      log.first = log.first or seconds_of(entry.time)
      log.last = seconds_of(entry.time)
    elseif entry.msg:find("^message rejected") then
      table.insert(log.rejections, entry)
    end
  end
  return log
end

local function report_rejections(log)
  say("%5s rejected, each with its reason:", grouped(log.counts.rejected))
  for _, entry in ipairs(log.rejections) do
    say("        %-10s %s", entry.id, entry.reason or entry.msg)
  end
  local untold = log.counts.rejected - #log.rejections
  if untold > 0 then
    say("        and %d more", untold)
  end
end

-- The log's times are in milliseconds, so more than two figures of a rate would be invented.
local function report_rate(log)
  local seconds = (log.last - log.first) % 86400
  if seconds > 0 then
    local rate = tonumber(("%.1e"):format(log.accepted / seconds))
    say("That took %.0f ms, about %s orders a second, in one worker process that logged each accepted order.",
      seconds * 1000, grouped(rate))
  end
end

local function report(path)
  local log = read_log(path)
  local left = assert(connect():queue_info(QUEUE)).messages
  local cents = log.worth % 100
  local whole = grouped((log.worth - cents) / 100)
  say("%5s accepted, worth %s.%02d together", grouped(log.accepted), whole, cents)
  report_rejections(log)
  print()
  report_rate(log)
  say("RabbitMQ handed out %s messages, %s of them twice; the queue holds %s now.",
    grouped(log.counts.delivered), grouped(log.counts.redelivered), grouped(left))
  print()
  say("The handler is examples/orders/handler.lua. Change it, and run `make demo` again.")
  print()
  if log.counts.acked + log.counts.rejected ~= ORDERS or left > 0 then
    io.stderr:write(("demo: of %d orders not every one was settled exactly once\n"):format(ORDERS))
    os.exit(1)
  end
end

local commands = { publish = publish, report = report }
commands[arg[1]](arg[2])
