-- The kinds of values that a configuration has: how each is written, checked and described. config_keys.lua
-- makes its keys of them; config.lua calls evaluate() on what it finds. Sizes and durations are parsed by
-- `host`, in C.
--
-- A rule is { kind, default, min, max, ... }; times are in nanoseconds, sizes in bytes, as they leave for C.

local host, problems = ...
local complain, show = problems.complain, problems.show

local WHOLE_MAX = 2 ^ 53 -- the last whole number that a Lua number counts to without gaps
local SECOND = 1e9

local M = { WHOLE_MAX = WHOLE_MAX }

-- What rules are made of.

local function ranged(kind)
  return function(default, min, max) return { kind = kind, default = default, min = min, max = max } end
end

M.integer, M.number, M.size, M.duration = ranged "integer", ranged "number", ranged "size", ranged "duration"

function M.boolean(default) return { kind = "boolean", default = default } end

-- So many messages in a second, minute or hour; its value is the time for one of them.
function M.rate() return { kind = "rate", min = 1, max = WHOLE_MAX } end

-- `what` says what is accepted, after "give".
function M.text(what, default) return { kind = "text", what = what, default = default, max = 255 } end
function M.path(what) return { kind = "path", what = what, max = 4096 } end
function M.list(what) return { kind = "list", what = what, max = 2048 } end
-- From exchanges to a queue: { { exchange = text, routing_key = text } }.
function M.bindings(what) return { kind = "bindings", what = what, max = 255 } end

function M.choice(default, ...)
  return { kind = "text", what = problems.one_of { ... }, choices = { ... }, default = default, max = 255 }
end

-- Adds to a rule: `refuse`, a function of a value that is of the right kind: nil, or advice that ends the
-- complaint; `none`, what the word "none" stands for; `empty`, the empty text is taken; `per_run`, it is not
-- for the file.
function M.with(rule, more)
  for name, value in next, more do rule[name] = value end
  return rule
end

-- What the refusal of a value offers instead.
local accepted = {
  integer = function(rule)
    local range = ("a whole number from %.0f to %.0f"):format(rule.min, rule.max)
    if rule.max == WHOLE_MAX then range = ("a whole number of at least %.0f"):format(rule.min) end
    return rule.none and range .. ', or "none"' or range
  end,
  number = function(rule) return ("a number from %g to %g"):format(rule.min, rule.max) end,
  size = function(rule)
    return ('a size from %s to %s, such as "64MiB"'):format(host.format_size(rule.min),
      host.format_size(rule.max))
  end,
  duration = function(rule)
    return ('a time from %s to %s, such as "30s"'):format(host.format_duration(rule.min),
      host.format_duration(rule.max))
  end,
  rate = function()
    return 'messages in a time, such as "100/s", "100/m" or "100/h", of at most "1000000/s"'
  end,
  boolean = function() return "true or false" end,
  text = function(rule) return rule.what end,
  path = function(rule) return rule.what end,
}

-- From text or value to value.

local function is_text(raw, rule)
  return type(raw) == "string" and #raw <= rule.max and (#raw > 0 or rule.empty) and not raw:find("%c")
end

local function is_whole(value)
  return type(value) == "number" and value == math.floor(value) and math.abs(value) <= WHOLE_MAX
end

-- From what was written to a value of the kind, or nil. `folder` is where a relative path begins; `outside`:
-- it stands in a flag or a variable, as text.
local convert = {
  integer = function(raw, rule, outside)
    if raw == "none" and rule.none then return rule.none end
    if outside then raw = raw:find("^%-?%d+$") and tonumber(raw) end
    return is_whole(raw) and raw or nil
  end,
  number = function(raw, _, outside)
    if outside then raw = raw:find("^%-?%d+%.?%d*$") and tonumber(raw) end
    return type(raw) == "number" and raw or nil
  end,
  size = function(raw)
    if type(raw) == "string" then return host.parse_size(raw) end
    return is_whole(raw) and raw or nil
  end,
  duration = function(raw)
    if type(raw) == "string" then return host.parse_duration(raw) end
    local fits = type(raw) == "number" and math.abs(raw) < WHOLE_MAX / SECOND
    return fits and math.floor(raw * SECOND + 0.5) or nil
  end,
  -- Rounded up: no more than was asked for.
  rate = function(raw)
    local count, unit = tostring(raw):match("^(%d+)/([smh])$")
    local period = ({ s = SECOND, m = 60 * SECOND, h = 3600 * SECOND })[unit]
    local interval = period and period / tonumber(count)
    return interval and interval >= 1000 and interval < math.huge and math.ceil(interval) or nil
  end,
  boolean = function(raw, _, outside)
    if outside and (raw == "true" or raw == "false") then return raw == "true" end
    if type(raw) == "boolean" then return raw end
  end,
  text = function(raw, rule) return is_text(raw, rule) and raw or nil end,
  path = function(raw, rule, _, folder)
    if not is_text(raw, rule) then return nil end
    return raw:sub(1, 1) == "/" and raw or folder .. raw
  end,
}

local function is_choice(rule, value)
  if not rule.choices then return true end
  for _, choice in ipairs(rule.choices) do
    if choice == value then return true end
  end
  return false
end

-- NaN is in no range.
local function in_range(rule, value)
  if type(value) ~= "number" then return is_choice(rule, value) end
  return value == rule.none or (value >= rule.min and value <= rule.max)
end

local function evaluate_scalar(rule, raw, label, outside, folder)
  local value = convert[rule.kind](raw, rule, outside, folder)
  local advice = value ~= nil and rule.refuse and rule.refuse(value)
  if value ~= nil and not advice and in_range(rule, value) then return value end
  complain("%s is %s: %s", label, show(raw), advice or "give " .. accepted[rule.kind](rule))
end

-- Lists.

local function split(text)
  local items = {}
  for item in (text .. ","):gmatch("%s*([^,]-)%s*,") do items[#items + 1] = item end
  return items
end

-- How many items a table has, or nil where its keys are not 1, 2, 3 and so on.
function M.length(items)
  local count = 0
  for _ in next, items do count = count + 1 end
  return count == #items and count or nil
end

local function evaluate_list(rule, raw, label, outside)
  local items, values, seen = raw, {}, {}
  if outside then items = split(raw) end
  if type(items) ~= "table" or not M.length(items) then
    local shown = type(raw) == "table" and "a table, but no list" or show(raw)
    complain("%s is %s: give %s", label, shown, rule.what)
    return nil
  end
  for i, item in ipairs(items) do
    local here = ("%s[%d]"):format(label, i)
    local advice = not is_text(item, rule) and "give " .. rule.what or rule.refuse(item)
    if advice then
      complain("%s is %s: %s", here, show(item), advice)
    elseif seen[item] then
      complain("%s is %s, as %s is: leave one of them out", here, show(item), seen[item])
    end
    seen[item], values[i] = here, item
  end
  return values
end

-- Bindings.

-- As a flag has it, EXCHANGE=ROUTING_KEY; without the sign the routing key is empty.
local function binding_of(text)
  local exchange, routing_key = text:match("^([^=]*)=?(.*)$")
  return { exchange = exchange, routing_key = routing_key }
end

local function complain_of_strange_keys(item, label)
  for name in next, item do
    if name ~= "exchange" and name ~= "routing_key" then
      complain("%s has %s, which is unknown: there are exchange, routing_key", label, show(name))
    end
  end
end

-- One binding with its routing key filled in, or nil after a complaint.
local function evaluate_binding(rule, item, label)
  if type(item) ~= "table" then
    complain("%s is %s: give %s", label, show(item), rule.what)
    return nil
  end
  complain_of_strange_keys(item, label)
  local exchange, routing_key = item.exchange, item.routing_key
  if routing_key == nil then routing_key = "" end
  if exchange == "" then
    complain('%s.exchange is "": the default exchange reaches every queue by its name and takes no ' ..
      "bindings; name another, or leave this out", label)
  elseif not is_text(exchange, rule) then
    complain("%s.exchange is %s: give an exchange's name, of 1 to 255 bytes", label, show(exchange))
  end
  if not is_text(routing_key, { max = rule.max, empty = true }) then
    complain("%s.routing_key is %s: give a routing key, of at most 255 bytes", label, show(routing_key))
  end
  return { exchange = exchange, routing_key = routing_key }
end

local function evaluate_bindings(rule, raw, label, outside)
  local items, values, seen = raw, {}, {}
  if outside then
    items = split(raw)
    for i, text in ipairs(items) do items[i] = binding_of(text) end
  end
  if type(items) ~= "table" or not M.length(items) then
    local shown = type(raw) == "table" and "a table, but no list" or show(raw)
    complain("%s is %s: give %s", label, shown, rule.what)
    return nil
  end
  for i, item in ipairs(items) do
    local here = ("%s[%d]"):format(label, i)
    local value = evaluate_binding(rule, item, here)
    local name = value and tostring(value.exchange) .. "\0" .. tostring(value.routing_key)
    if name and seen[name] then complain("%s is what %s is: leave one of them out", here, seen[name]) end
    if name then seen[name], values[#values + 1] = here, value end
  end
  return values
end

local evaluators = { list = evaluate_list, bindings = evaluate_bindings }

-- The value that `raw` stands for, or nil after a complaint that begins with `label`.
function M.evaluate(rule, ...)
  return (evaluators[rule.kind] or evaluate_scalar)(rule, ...)
end

return M
