-- What `moonrabbit replay` counts, and how it tells it. Its memory does not grow with the file: times go into
-- a histogram, errors and skipped lines are bounded.
local cjson = require "cjson"
local host = require "moonrabbit.host"
local in_words = require "moonrabbit.words"
local with_commas, counted = in_words.with_commas, in_words.counted

local GROUPS_MAX = 100 -- kinds of errors that are told apart
local SKIPPED_SHOWN = 20
local STEPS = 16 -- of the histogram for each doubling: a percentile is right to 4 %
local LEAK_BYTES = 1024 * 1024 -- what lives may grow by so much, of all messages, before it is called a leak

local VERDICTS = { "ack", "retry", "requeue", "reject", "error" }

-- Times.

local function bucket_of(seconds)
  return math.floor(math.log(math.max(seconds * 1e9, 1)) / math.log(2) * STEPS)
end

local function new_times()
  return { buckets = {}, count = 0, max = 0 }
end

local function add_time(times, seconds)
  local bucket = bucket_of(seconds)
  times.buckets[bucket] = (times.buckets[bucket] or 0) + 1
  times.count = times.count + 1
  times.max = math.max(times.max, seconds)
end

local function percentile(times, share)
  local wanted, seen = math.ceil(times.count * share), 0
  for bucket = 0, bucket_of(times.max) do
    seen = seen + (times.buckets[bucket] or 0)
    if seen >= wanted then return math.min(2 ^ ((bucket + 0.5) / STEPS) / 1e9, times.max) end
  end
  return times.max
end

-- Counting.

local Report = {}
Report.__index = Report

function Report:begin(recycled)
  self.began = host.now()
  self.fresh_bytes = recycled.memory
end

function Report:skip(number, reason)
  self.skipped = self.skipped + 1
  if #self.skipped_lines < SKIPPED_SHOWN then
    self.skipped_lines[#self.skipped_lines + 1] = { line = number, reason = tostring(reason) }
  end
end

-- Errors that differ in numbers only are of one kind.
local function kind_of(outcome)
  return outcome.cause .. ": " .. outcome.error:gsub("%d+", "N")
end

function Report:add_error(number, outcome)
  local kind = kind_of(outcome)
  local group = self.groups[kind]
  if not group and #self.errors >= GROUPS_MAX then
    self.other_errors = self.other_errors + 1
    return
  end
  if not group then
    group = { cause = outcome.cause, text = outcome.error, line = number, count = 0 }
    self.groups[kind], self.errors[#self.errors + 1] = group, group
  end
  group.count = group.count + 1
end

function Report:add(number, outcome)
  self.messages = self.messages + 1
  self.verdicts[outcome.verdict] = self.verdicts[outcome.verdict] + 1
  self.settlements[outcome.settlement] = self.settlements[outcome.settlement] + 1
  self.published = self.published + #outcome.published
  self.peak_bytes = math.max(self.peak_bytes, outcome.memory or 0)
  add_time(self.times, outcome.elapsed)
  if outcome.error then self:add_error(number, outcome) end
end

function Report:add_leaks(leaks, looking)
  self.leaks_found = leaks
  self.looking = looking
end

function Report:finish(recycled, counts)
  self.seconds = host.now() - self.began
  self.peak_bytes = math.max(self.peak_bytes, recycled.peak)
  self.grown_bytes = recycled.memory - self.fresh_bytes
  self.grown_messages = recycled.messages
  self.deaths = counts.processes - 1
  self.recycled = counts.recycled
  self.recycled.asked = nil -- by replay itself
  table.sort(self.errors, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.line < b.line
  end)
end

function Report:growth()
  if self.grown_messages == 0 then return nil end
  return self.grown_bytes / self.grown_messages
end

function Report:leaks()
  return #self.leaks_found > 0 or self.recycled.memory > 0 or self.grown_bytes >= LEAK_BYTES
end

---Which of these words came true.
function Report:seen(words)
  local verdicts, seen = self.verdicts, {}
  local is = {
    error = verdicts.error > 0,
    reject = verdicts.reject > 0,
    retry = verdicts.retry + verdicts.requeue > 0,
    leak = self:leaks(),
  }
  for _, word in ipairs(words) do
    if is[word] then seen[#seen + 1] = word end
  end
  return seen
end

-- Telling.

function Report:progress()
  local skipped = self.skipped > 0 and (", %s skipped"):format(with_commas(self.skipped)) or ""
  return ("%s, %s%s"):format(counted(self.messages, "message"), counted(self.verdicts.error, "error"),
    skipped)
end

function Report:head()
  local rate = self.seconds > 0 and math.floor(self.messages / self.seconds) or 0
  return ("%s in %s, %s a second\n"):format(counted(self.messages, "message"),
    host.format_duration(self.seconds), with_commas(rate))
end

function Report:verdict_rows(add)
  for _, verdict in ipairs(VERDICTS) do
    local count = self.verdicts[verdict]
    if count > 0 then
      add(("  %-10s %12s  %5.1f %%\n"):format(verdict, with_commas(count), 100 * count / self.messages))
    end
  end
end

local function signed_size(bytes)
  return (bytes < 0 and "-" or "+") .. host.format_size(math.floor(math.abs(bytes) + 0.5))
end

function Report:measures(add)
  local times = self.times
  add(("  %-10s p50 %s, p99 %s, max %s\n"):format("time", host.format_duration(percentile(times, 0.5)),
    host.format_duration(percentile(times, 0.99)), host.format_duration(times.max)))
  add(("  %-10s peak %s"):format("memory", host.format_size(self.peak_bytes)))
  local growth = self:growth()
  if growth then
    add(("; what lives: %s, %s a message (%s)"):format(signed_size(self.grown_bytes),
      signed_size(growth), counted(self.grown_messages, "message")))
  else
    add("; of what lives nothing is known: the last state is new (--recycle-messages N makes it last longer)")
  end
  add("\n")
  add(("  %-10s %s\n"):format("published", counted(self.published, "message")))
end

function Report:ends(add)
  local reasons = {}
  for reason, count in pairs(self.recycled) do
    local words = reason:gsub("_", " ")
    if count > 0 then reasons[#reasons + 1] = ("%s for %s"):format(with_commas(count), words) end
  end
  table.sort(reasons)
  if #reasons > 0 then add(("  %-10s %s\n"):format("recycled", table.concat(reasons, ", "))) end
  local looking = self.looking
  if looking.looks > 0 then
    local share = looking.alive > 0 and 100 * looking.spent / looking.alive or 0
    add(("  %-10s %s, %s; %.2f %% of the time%s\n"):format("leaks", #self.leaks_found > 0
      and counted(#self.leaks_found, "found", "found") or "none found", counted(looking.looks, "look"), share,
      looking.complete and "" or "; there are more objects than can be looked at"))
  end
  if self.deaths > 0 then add(("  %-10s %s\n"):format("workers", counted(self.deaths, "died", "died"))) end
end

function Report:lists(add)
  if #self.leaks_found > 0 then add("\nleaks\n") end
  for _, leak in ipairs(self.leaks_found) do
    add(("  %s\n"):format(leak.text))
    if leak.sample ~= "" then add(("    keys: %s\n"):format(leak.sample)) end
  end
  if #self.errors > 0 then add("\nerrors\n") end
  for _, group in ipairs(self.errors) do
    add(("  %12s  %s: %s (first on line %d)\n"):format(with_commas(group.count) .. "x", group.cause,
      group.text, group.line))
  end
  if self.other_errors > 0 then
    add(("  %12s  of other kinds\n"):format(with_commas(self.other_errors) .. "x"))
  end
  if self.skipped > 0 then add(("\n%s skipped\n"):format(counted(self.skipped, "line"))) end
  for _, skipped in ipairs(self.skipped_lines) do
    add(("  line %d: %s\n"):format(skipped.line, skipped.reason))
  end
  if self.skipped > #self.skipped_lines then
    add(("  and %s more\n"):format(with_commas(self.skipped - #self.skipped_lines)))
  end
end

---The report for people.
function Report:as_text()
  local parts = {}
  local function add(text) parts[#parts + 1] = text end
  add(self:head())
  if self.messages > 0 then
    self:verdict_rows(add)
    self:measures(add)
  end
  self:ends(add)
  self:lists(add)
  return table.concat(parts)
end

-- cjson cannot tell an empty list from an empty object.
local function json_list(list)
  return #list == 0 and "[]" or cjson.encode(list)
end

---The report for machines: one JSON object on one line. Times are in seconds, sizes in bytes.
function Report:as_json(seen)
  local times, leaks = self.times, {}
  for i, leak in ipairs(self.leaks_found) do
    leaks[i] = {}
    for name, value in pairs(leak) do leaks[i][name] = name ~= "text" and value or nil end
  end
  local parts = {
    { "messages", cjson.encode(self.messages) },
    { "seconds", cjson.encode(self.seconds) },
    { "verdicts", cjson.encode(self.verdicts) },
    { "settlements", cjson.encode(self.settlements) },
    { "time", cjson.encode { p50 = percentile(times, 0.5), p99 = percentile(times, 0.99), max = times.max } },
    { "memory", cjson.encode { peak = self.peak_bytes, grown = self.grown_bytes,
      messages = self.grown_messages, per_message = self:growth() } },
    { "published", cjson.encode(self.published) },
    { "recycled", cjson.encode(self.recycled) },
    { "deaths", cjson.encode(self.deaths) },
    { "leaks", json_list(leaks) },
    { "looking", cjson.encode(self.looking) },
    { "errors", json_list(self.errors) },
    { "other_errors", cjson.encode(self.other_errors) },
    { "skipped", cjson.encode(self.skipped) },
    { "skipped_lines", json_list(self.skipped_lines) },
    { "seen", json_list(seen) },
  }
  for i, part in ipairs(parts) do parts[i] = ('"%s":%s'):format(part[1], part[2]) end
  return "{" .. table.concat(parts, ",") .. "}\n"
end

return function()
  return setmetatable({
    messages = 0, skipped = 0, skipped_lines = {},
    verdicts = { ack = 0, retry = 0, requeue = 0, reject = 0, error = 0 },
    settlements = { ack = 0, retry = 0, requeue = 0, reject = 0 },
    published = 0, peak_bytes = 0, times = new_times(),
    errors = {}, groups = {}, other_errors = 0, leaks_found = {},
  }, Report)
end
