-- What the doctor's rules have in common: bounds that come near, names as people know them, and lines that
-- can be copied whatever a queue is called.
local words = require "moonrabbit.words"

local NEAR, FULL = 0.8, 0.95 -- shares of a bound

local judging = { NEAR = NEAR, MUCH_MORE = 10 } -- MUCH_MORE: so many times of what is too much is critical

---Rules of one layer, each with its name.
function judging.layer(name, rules)
  for _, rule in ipairs(rules) do rule.layer = name end
  return rules
end

---A list of the facts of the HTTP API, one after the other; nothing where that was not asked.
function judging.each_of(facts, kind)
  return ipairs(facts.management and facts.management[kind] or {})
end

---@return "warning"|"critical"|nil near a bound, at the end of it, neither or unknown
function judging.nearness(used, bound)
  if not used or not bound or bound <= 0 or used < NEAR * bound then return nil end
  return used >= FULL * bound and "critical" or "warning"
end

---@return string "0.4 a second"
function judging.rate(number)
  return number < 10 and ("%.1f a second"):format(number) or words.with_commas(number) .. " a second"
end

-- Queues.

function judging.queue_named(facts, name)
  for _, queue in ipairs(facts.queues) do
    if queue.name == name then return queue end
  end
end

---The first consumer of the configuration that takes messages from it.
function judging.consumer_of(facts, queue)
  for _, consumer in ipairs(facts.config.consumers) do
    if consumer.queue == queue then return consumer end
  end
end

---A set of the queues that dead letters go to: as the configuration says, and as other queues do by the
---default exchange. What only waits for its time (in a delay queue) comes back to one that is none.
function judging.dead_letter_queues(facts)
  local names = {}
  for _, queue in ipairs(facts.queues) do
    if queue.dead_letter_exchange == "" and queue.dead_letter_key and not queue.ttl then
      names[queue.dead_letter_key] = true
    end
  end
  for _, consumer in ipairs(facts.config.consumers) do names[consumer.queue] = nil end
  for _, consumer in ipairs(facts.config.consumers) do
    if consumer.dead_letter then names[consumer.dead_letter] = true end
  end
  return names
end

function judging.is_bounded(queue)
  return queue.max_length or queue.max_bytes or queue.ttl or queue.max_age
end

-- Names and lines.

function judging.describe_connection(connection)
  local called = connection.called
  return "connection " .. (called and ("%s (%s)"):format(called, connection.name) or connection.name)
end

---A word for the shell, whatever is in it.
function judging.quote(text)
  if text:find("^[%w._/-]+$") and not text:find("^-") then return text end
  return "'" .. text:gsub("'", [['\'']]) .. "'"
end

---A call of rabbitmqctl that is about the virtual host's own things.
function judging.in_vhost(facts, line)
  local vhost = facts.config.vhost
  return "rabbitmqctl " .. (vhost ~= "/" and "-p " .. judging.quote(vhost) .. " " or "") .. line
end

---The line that bounds a queue that is there: its own arguments cannot be changed any more.
function judging.bounding_policy(facts, queue)
  local pattern = "^" .. queue:gsub("[%^%$%(%)%[%]%.%*%+%?{}|\\]", "\\%0") .. "$"
  return judging.in_vhost(facts, ([[set_policy --apply-to queues %s %s '{"max-length":100000}']]):format(
    judging.quote("bound " .. queue), judging.quote(pattern)))
end

return judging
