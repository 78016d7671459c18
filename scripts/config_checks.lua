-- What no single key can tell: combinations that cannot work, each refused with both sides of it and what to
-- do. Called by config.lua when the entries of a scope are settled.
--
-- An entry is { value, rank, label, rule }; its value is nil where it was complained of already, and then no
-- more is said of it here.

local host, problems, keys, RANK = ...
local complain, show = problems.complain, problems.show

local HANDLERS_MAX = 4096 -- at once, of one consumer, all its workers together

local M = {}

local function told(entry)
  local formats = { size = host.format_size, duration = host.format_duration }
  local format = formats[entry.rule.kind] or show
  return ("%s is %s"):format(entry.label, format(entry.value))
end

-- The entry, where there is one that has a value and that somebody set.
local function set_by_somebody(entry)
  return entry and entry.value ~= nil and entry.rank ~= RANK.DEFAULT and entry or nil
end

-- Both, the one that somebody set first, so that the sentence begins with it; nil where either has no value.
local function pair_of(entries, a, b)
  local first, other = entries[a], entries[b]
  if not first or not other or first.value == nil or other.value == nil then return nil end
  if first.rank < other.rank then first, other = other, first end
  return first, other
end

local function check_order(entries, low, high, advice)
  local first, other = pair_of(entries, low, high)
  if first and entries[low].value > entries[high].value then
    complain("%s, and %s: %s", told(first), told(other), advice)
  end
end

-- The broker.

local function has_tls(urls)
  for _, url in ipairs(urls) do
    if url:find("^amqps://") then return true end
  end
  return false
end

local function check_tls_is_used(entries, urls)
  local management = entries["broker.management"]
  if has_tls(urls) or (management and (management.value or ""):find("^https://")) then return end
  for _, rule in ipairs(keys.root) do
    local entry = rule.path:find("^broker%.tls%.") and set_by_somebody(entries[rule.path])
    if entry then
      complain("%s, but no broker URL begins with amqps://, so nothing is encrypted: write amqps://, or " ..
        "leave this out", told(entry))
    end
  end
end

local function check_certificate(entries, urls)
  local certificate, its_key = entries["broker.tls.cert"], entries["broker.tls.key"]
  local auth = entries["broker.auth"]
  local alone = not (certificate and its_key) and set_by_somebody(certificate or its_key)
  if alone then
    complain("%s, and broker.tls.%s is not set: a certificate and its key go together", told(alone),
      certificate and "key" or "cert")
  end
  if auth.value == "external" and not (certificate and has_tls(urls)) then
    complain("%s, which logs in by the client's certificate: it needs an amqps:// URL, broker.tls.cert " ..
      "and broker.tls.key", told(auth))
  end
end

-- `urls` is nil where they were complained of.
function M.check_root(entries, urls)
  if urls then
    check_tls_is_used(entries, urls)
    check_certificate(entries, urls)
  end
  check_order(entries, "memory.warning", "memory.critical",
    "the warning must not come after the critical level")
end

-- One consumer.

local function check_handlers_at_once(entries)
  local workers, concurrency = pair_of(entries, "workers", "concurrency")
  local count = workers and workers.value * concurrency.value
  if workers and count > HANDLERS_MAX then
    complain("%s, and %s: that makes %d handlers at once, and %d are allowed", told(workers),
      told(concurrency), count, HANDLERS_MAX)
  end
end

-- Two of one key would be under way at once.
local function check_order_is_kept(entries)
  local ordering, concurrency = pair_of(entries, "ordering", "concurrency")
  if ordering and entries.ordering.value ~= "none" and entries.concurrency.value > 1 then
    complain("%s, and %s: messages that are under way at once end in any order, so leave one of them out",
      told(ordering), told(concurrency))
  end
end

local function check_recycling(entries)
  local first, other = pair_of(entries, "recycle.memory", "limits.memory")
  if first and entries["recycle.memory"].value >= entries["limits.memory"].value then
    complain("%s, and %s: a state is recycled before it meets its limit, so recycle.memory must be less",
      told(first), told(other))
  end
  check_order(entries, "limits.memory", "recycle.process_memory",
    "a process holds more than its Lua state, so recycle.process_memory must not be less")
end

function M.check_consumer(entries)
  check_handlers_at_once(entries)
  check_order_is_kept(entries)
  check_recycling(entries)
  check_order(entries, "retry.delay", "retry.max_delay",
    "the first delay must not be longer than the longest")
end

local function check_overflow(entries, overflow)
  local limited = entries["declare.max_length"].value ~= -1 or entries["declare.max_bytes"]
  if not limited then
    complain("%s, but nothing limits the queue: give declare.max_length or declare.max_bytes",
      told(overflow))
  end
  if overflow.value ~= "reject-publish-dlx" then return end
  local kind = entries["declare.type"]
  if kind and kind.value == "quorum" then
    complain('%s, which quorum queues do not know: give "drop-head" or "reject-publish"', told(overflow))
  elseif not entries["declare.dead_letter_exchange"] then
    complain("%s, which needs declare.dead_letter_exchange for what is rejected", told(overflow))
  end
end

-- Only quorum queues count deliveries; what the broker makes where no type is named, nobody knows here.
local function check_delivery_limit(entries)
  local limit, kind = entries["declare.delivery_limit"], entries["declare.type"]
  if not limit or not limit.value or (kind and (kind.value == nil or kind.value == "quorum")) then return end
  complain('%s, and %s: only quorum queues count deliveries, so give declare.type = "quorum" or ' ..
    "leave this out", told(limit), kind and told(kind) or "declare.type is not set")
end

-- For a consumer that declares its queue.
function M.check_declare(entries)
  local overflow, routing_key = entries["declare.overflow"], entries["declare.dead_letter_routing_key"]
  local kind, durable, queue = entries["declare.type"], entries["declare.durable"], entries.queue
  if set_by_somebody(overflow) then check_overflow(entries, overflow) end
  check_delivery_limit(entries)
  if kind and kind.value == "quorum" and durable.value == false then
    complain("%s, and a quorum queue is always durable: leave this out", told(durable))
  end
  if routing_key and routing_key.value and not entries["declare.dead_letter_exchange"] then
    complain("%s, which needs declare.dead_letter_exchange beside it", told(routing_key))
  end
  if queue and queue.value and queue.value:find("^amq%.") then
    complain("%s, and names that begin with amq. are the broker's own: declare a queue of another name",
      told(queue))
  end
end

-- All consumers together.

local function value_of(consumer, path)
  return consumer.entries[path] and consumer.entries[path].value
end

-- From queue to dead letter, and on where that is a queue consumed here: no way may lead back to where it
-- began.
local function check_dead_letters(consumers)
  local next_of = {}
  for _, consumer in ipairs(consumers) do
    local queue = value_of(consumer, "queue")
    if queue then next_of[queue] = value_of(consumer, "dead_letter") or next_of[queue] end
  end
  for _, consumer in ipairs(consumers) do
    local queue, here, steps = value_of(consumer, "queue"), value_of(consumer, "dead_letter"), 1
    while here and here ~= queue and steps < #consumers do here, steps = next_of[here], steps + 1 end
    if here and here == queue then
      complain("%s, and from there a message that fails comes back to %s for ever: name one that keeps it",
        told(consumer.entries.dead_letter), show(queue))
    end
  end
end

-- Bindings are added and may differ.
local function differing_declaration(a, b)
  for _, rule in ipairs(keys.consumer) do
    local of_declare = rule.path:find("^declare%.") and rule.kind ~= "bindings"
    if of_declare and value_of(a, rule.path) ~= value_of(b, rule.path) then return rule.path end
  end
end

local function check_declared_twice(consumers)
  local first_of = {}
  for _, consumer in ipairs(consumers) do
    local queue = consumer.declared and value_of(consumer, "queue")
    local first = queue and first_of[queue]
    local path = first and differing_declaration(first, consumer)
    if path then
      complain("%s%s is not what %s%s is, and both declare the queue %s: the broker refuses the second",
        consumer.label, path, first.label, path, show(queue))
    end
    if queue then first_of[queue] = first or consumer end
  end
end

local function check_channels(entries, consumers)
  local channels = entries["broker.max_channels"]
  if channels.value and #consumers > channels.value then
    complain("%s, but %d channels are needed (one for each consumer): raise it, or run fewer consumers in " ..
      "one process", told(channels), #consumers)
  end
end

function M.check_all(entries, consumers)
  check_dead_letters(consumers)
  check_declared_twice(consumers)
  check_channels(entries, consumers)
end

return M
