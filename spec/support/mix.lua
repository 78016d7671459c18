-- A mixed load for specs about failures: messages of which most succeed, some fail once, some always, some
-- kill their worker, some are no JSON; and where each of them belongs at the end.
local assert = require "luassert"
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"

local mix = { ATTEMPTS = 3 }

-- What is special about a message, by its id modulo 100; the others succeed at once.
local function kind_of(id)
  local place = id % 100
  return place < 10 and "once" or place < 15 and "always" or place == 15 and "kill"
    or place == 16 and "garbage" or "good"
end

mix.HANDLER = [[
  local bomb, victim = ("a*"):rep(30) .. "b", ("a"):rep(30)
  return function(order, message)
    local place = order.id % 100
    handled(order, message)
    if place < 10 and message.attempt == 1 then error "once" end
    if place >= 10 and place < 15 then return "retry" end
    if place == 15 then victim:find(bomb) end
  end
]]

mix.FLAGS = {
  workers = 10, prefetch = 200,
  ["retry-attempts"] = mix.ATTEMPTS, ["retry-delay"] = "200ms", ["retry-factor"] = 2,
  -- Loading the script has no more, on any machine. Who is killed waits for it: therefore so many workers.
  ["limits-deadline"] = "1s", ["limits-grace"] = "200ms",
}

---Puts messages into the queue, ids from 1 to `count`.
function mix.fill(queue, count)
  local connection = assert(rabbit.connect())
  local properties = { content_type = "application/json", delivery_mode = 2, message_id = "%d",
    headers = { tenant = "eu" } }
  assert(connection:confirm_select())
  local from = 1
  while from <= count do
    local garbage = kind_of(from) == "garbage"
    local to = from
    while to < count and not garbage and kind_of(to + 1) ~= "garbage" do to = to + 1 end
    local body = garbage and '{"id":%d,' or '{"id":%d}'
    assert(connection:publish_many("", queue, to - from + 1, body, properties, { from = from }))
    from = to + 1
  end
  assert(connection:close())
end

local REASONS = { always = "gave-up", kill = "crashed", garbage = "undecodable" }

-- What a dead letter must say of itself.
local function assert_letter(letter, queue, undisturbed)
  local headers, id = letter.properties.headers, tonumber(letter.properties.message_id)
  local kind = kind_of(id)
  assert.equal(REASONS[kind], headers["moonrabbit-reason"], ("reason of %d"):format(id))
  local attempts, least = headers["moonrabbit-attempt"], kind == "garbage" and 1 or mix.ATTEMPTS
  local right = attempts == least or undisturbed == false and attempts > least
  assert.is_true(right, ("message %d had %d attempts"):format(id, attempts))
  assert.same({ queue, "", queue, "eu" }, { headers["moonrabbit-queue"], headers["moonrabbit-exchange"],
    headers["moonrabbit-routing-key"], headers.tenant })
  assert.equal(("{\"id\":%d%s"):format(id, kind == "garbage" and "," or "}"), letter.body)
  return id
end

---Every message is where it belongs, with the right reason and attempts.
---@param program table its log is that of the whole run
---@param undisturbed? boolean false where connections were lost: each loss may count as an attempt
---@return integer duplicates handled or dead more often than the attempts ask for
function mix.assert_outcome(program, queue, dead, count, undisturbed)
  -- What a worker logs right before it is killed may be lost with it; its letter tells the attempts.
  local wanted = { once = 2, always = mix.ATTEMPTS, good = 1, garbage = 0 }
  if undisturbed == false then
    wanted = { once = 1, always = 1, good = 1, garbage = 0 }
  end
  local times = consumer.times_handled(program)
  local duplicates, letters = 0, {}
  for _, letter in ipairs(assert(rabbit.connect():drain(dead))) do
    local id = assert_letter(letter, queue, undisturbed)
    letters[id] = (letters[id] or 0) + 1
  end
  for id = 1, count do
    local kind = kind_of(id)
    local handled, buried = times[id] or 0, letters[id] or 0
    if kind == "kill" then handled = 0 end
    assert.is_true(handled >= (wanted[kind] or 0),
      ("message %d (%s) was handled %d times"):format(id, kind, handled))
    assert.is_true(buried >= (REASONS[kind] and 1 or 0), ("message %d (%s) is lost"):format(id, kind))
    assert.is_true(REASONS[kind] ~= nil or buried == 0, ("message %d (%s) is dead"):format(id, kind))
    duplicates = duplicates + handled - (wanted[kind] or 0) + math.max(buried - 1, 0)
  end
  return duplicates
end

return mix
