-- The doctor's rules for queues. What is known of one by AMQP alone is how many messages and consumers it
-- has; one that the HTTP API told of is `detailed`.
local host = require "moonrabbit.host"
local judging = require "moonrabbit.doctor_judging"
local words = require "moonrabbit.words"

local commas, counted, size = words.with_commas, words.counted, host.format_size
local nearness, rate, is_bounded = judging.nearness, judging.rate, judging.is_bounded

local DEAD_LETTERS_SOME, DEAD_LETTERS_MANY = 100, 1000 -- some: where more come all the time

local function is_stream(queue)
  return queue.type == "stream"
end

local function grows(queue)
  return (queue.growth or 0) > 0
end

local function growth_of(queue)
  return grows(queue) and ", and it grows by " .. rate(queue.growth) or ""
end

-- A queue's bounds, also where only the configuration tells them.
local function bounds_of(facts, queue)
  local consumer = not queue.detailed and judging.consumer_of(facts, queue.name)
  local from = consumer and consumer.declared and consumer or queue
  return from.max_length, from.max_bytes
end

-- What dead letters of this queue are for and which is not there; nil where it is, or nobody knows.
local function missing_target(facts, queue, there)
  local exchange, key = queue.dead_letter_exchange, queue.dead_letter_key or queue.name
  local exchanges = facts.management.exchanges
  if exchange == "" then return not there[key] and "queue " .. key or nil end
  return exchange and exchanges and not exchanges[exchange] and "exchange " .. exchange or nil
end

local rules = {
  {
    name = "queue-missing", severities = { "critical" },
    why = "A consumer of it cannot start, and what is published for it is dropped or refused.",
    advice = "Have it declared, by the consumer itself:",
    check = function(facts, found)
      for name, there in pairs(facts.amqp and facts.amqp.queues or {}) do
        local consumer = there == false and judging.consumer_of(facts, name)
        if consumer and not consumer.declared then
          found { object = "queue " .. name,
            what = ("there is none, and consumer %s is to take messages from it"):format(consumer.name),
            line = "declare = { durable = true, max_length = 100000 }" }
        end
      end
    end,
  },
  {
    name = "no-bound", severities = { "info", "warning" },
    why = "Where its consumers are slow or away it grows until the broker's memory or disk is full, which " ..
      "stops every publisher of that broker.",
    advice = "Give it a length. A policy does that to a queue that is there, whose declaration cannot " ..
      "change:",
    check = function(facts, found)
      local dead = judging.dead_letter_queues(facts)
      for _, queue in ipairs(facts.queues) do
        if queue.detailed and not is_bounded(queue) and not dead[queue.name] then
          found {
            object = "queue " .. queue.name, severity = queue.exclusive and "info" or "warning",
            what = is_stream(queue) and "it has no max-length-bytes and no max-age" or
              "it has no max-length, no max-length-bytes and no message-ttl",
            line = judging.bounding_policy(facts, queue.name), figures = { messages = queue.messages },
          }
        end
      end
      for _, consumer in ipairs(facts.config.consumers) do
        local queue = judging.queue_named(facts, consumer.queue)
        if consumer.declared and not is_bounded(consumer) and not (queue and queue.detailed) then
          found { object = "queue " .. consumer.queue, severity = "warning",
            what = "it is declared without any bound", line = "declare = { max_length = 100000 }" }
        end
      end
    end,
  },
  {
    name = "near-bound", severities = { "warning", "critical" },
    why = "A full queue refuses what is published, or drops its oldest messages; either way the consumers " ..
      "have fallen behind by all that it holds.",
    advice = "Find out why they are slow. More workers and a higher prefetch take more at once:",
    check = function(facts, found)
      local dead = judging.dead_letter_queues(facts)
      for _, queue in ipairs(facts.queues) do
        local length, bytes = bounds_of(facts, queue)
        local by_length, by_bytes = nearness(queue.messages, length), nearness(queue.bytes, bytes)
        local severity = by_length == "critical" and by_length or by_bytes or by_length
        if severity and not dead[queue.name] and not is_stream(queue) then
          found {
            object = "queue " .. queue.name, severity = severity,
            what = by_length and counted(queue.messages, "message") .. " of at most " .. commas(length) or
              size(queue.bytes) .. " of messages, of at most " .. size(bytes),
            line = "workers = 4, prefetch = 50", figures = { messages = queue.messages, max_length = length },
          }
        end
      end
    end,
  },
  {
    name = "no-consumers", severities = { "warning", "critical" },
    why = "Nobody takes its messages: they stay, and every further one with them.",
    advice = "Start its consumer; or, where nobody needs it any more, delete it:",
    check = function(facts, found)
      local dead = judging.dead_letter_queues(facts)
      local file = facts.config.file and " -c " .. judging.quote(facts.config.file) or ""
      for _, queue in ipairs(facts.queues) do
        local waits = queue.consumers == 0 and (queue.messages or 0) > 0
        if waits and not dead[queue.name] and not queue.ttl and not is_stream(queue) then
          found {
            object = "queue " .. queue.name, severity = grows(queue) and "critical" or "warning",
            what = counted(queue.messages, "message") .. ", no consumer" .. growth_of(queue),
            line = judging.consumer_of(facts, queue.name) and "moonrabbit run" .. file or
              judging.in_vhost(facts, "delete_queue --if-unused " .. judging.quote(queue.name)),
            figures = { messages = queue.messages, growth = queue.growth },
          }
        end
      end
    end,
  },
  {
    name = "dead-letters", severities = { "info", "warning", "critical" },
    why = "Dead letters stay until somebody looks. Where they pile up, messages fail that nobody mends; " ..
      "where their queue is full, the next ones are refused.",
    advice = "See why they failed, mend that, then send them back (dead retry) or drop them (dead drop):",
    check = function(facts, found)
      local dead = judging.dead_letter_queues(facts)
      for _, queue in ipairs(facts.queues) do
        local messages = queue.messages or 0
        if dead[queue.name] and messages > 0 and queue.consumers == 0 then
          local full = nearness(messages, queue.max_length) or nearness(queue.bytes, queue.max_bytes)
          local many = messages >= (grows(queue) and DEAD_LETTERS_SOME or DEAD_LETTERS_MANY)
          found {
            object = "queue " .. queue.name, severity = full and "critical" or many and "warning" or "info",
            what = counted(messages, "dead letter") ..
              (full and queue.max_length and " of at most " .. commas(queue.max_length) or "") ..
              growth_of(queue),
            line = "moonrabbit dead list " .. judging.quote(queue.name),
            figures = { messages = messages, growth = queue.growth, max_length = queue.max_length },
          }
        end
      end
    end,
  },
  {
    name = "dead-letters-no-bound", severities = { "warning" },
    why = "Nobody consumes dead letters: without a bound they grow until the broker's memory or disk is " ..
      "full.",
    advice = "Give their queue a length; those that moonrabbit declares have one:",
    check = function(facts, found)
      local dead = judging.dead_letter_queues(facts)
      for _, queue in ipairs(facts.queues) do
        if queue.detailed and dead[queue.name] and not is_bounded(queue) then
          found {
            object = "queue " .. queue.name,
            what = "dead letters go to it, and it has no max-length, no max-length-bytes and no message-ttl",
            line = judging.bounding_policy(facts, queue.name), figures = { messages = queue.messages },
          }
        end
      end
    end,
  },
  {
    name = "dead-letter-target", severities = { "critical" },
    why = "The broker drops dead letters whose target is not there, without a word to anybody.",
    advice = "Make the target, or have moonrabbit keep dead letters, which it does confirmed:",
    check = function(facts, found)
      if not (facts.management and facts.management.queues) then return end
      local there = {}
      for _, queue in ipairs(facts.queues) do there[queue.name] = true end
      for _, queue in ipairs(facts.queues) do
        local missing = missing_target(facts, queue, there)
        if missing then
          found { object = "queue " .. queue.name,
            what = ("its dead letters go to %s, which is not there"):format(missing),
            line = ("dead_letter = %q"):format(queue.name .. ".dead") }
        end
      end
    end,
  },
  {
    name = "no-dead-letter", severities = { "info" },
    why = "A message that is rejected, or that has failed retry.attempts times, is dropped by the broker " ..
      "for good.",
    advice = "Keep them where they can be looked at and sent back:",
    check = function(facts, found)
      for _, consumer in ipairs(facts.config.consumers) do
        local queue = judging.queue_named(facts, consumer.queue) or {}
        local exchange = consumer.dead_letter_exchange or queue.dead_letter_exchange
        if not consumer.dead_letter and not exchange then
          found { object = "consumer " .. consumer.name,
            what = "no dead_letter is set" ..
              (queue.detailed and ", and its queue has no dead-letter exchange" or ""),
            line = ("dead_letter = %q"):format(consumer.queue .. ".dead") }
        end
      end
    end,
  },
}

return { judging.layer("queue", rules) }
