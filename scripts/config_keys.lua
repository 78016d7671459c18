-- The keys of a configuration, with kind, default, bounds, and why a value is refused: the one place where
-- these are written down. The key `a.b_c` is also the flag --a-b-c and the variable MOONRABBIT_A_B_C
-- (config.lua sees to it).

local host, kinds = ...
local integer, number, size, duration = kinds.integer, kinds.number, kinds.size, kinds.duration
local boolean, text, path, list, choice = kinds.boolean, kinds.text, kinds.path, kinds.list, kinds.choice
local bindings, with, WHOLE_MAX = kinds.bindings, kinds.with, kinds.WHOLE_MAX

local KiB, MiB, GiB, TiB = 2 ^ 10, 2 ^ 20, 2 ^ 30, 2 ^ 40 -- sizes are in bytes
local ms, second, minute, hour, day = 1e6, 1e9, 60e9, 3600e9, 86400e9 -- times are in nanoseconds

local DEFAULT_URL = "amqp://guest:guest@localhost:5672/%2f"

-- What is refused, and why.

local function refuse_missing_file(name)
  local reason = host.probe(name)
  return reason and ("%s %s"):format(name, reason)
end

local function is_host_and_port(address, port_min)
  local port = address:match("^[%w%._-]+:(%d+)$") or address:match("^%[[%x:%.]+%]:(%d+)$")
  port = tonumber(port)
  return port and port >= port_min and port <= 65535
end

local function refuse_listen(value)
  if value ~= "off" and not is_host_and_port(value, 0) then
    return 'give HOST:PORT, such as "127.0.0.1:9464" (port 0 takes a free one), or "off"'
  end
end

local function refuse_allowed(value)
  local name = value:gsub("^%*%.", "")
  if not is_host_and_port(name, 1) or value:find("^%*%.%[") or value:find("^%*%.[%d.]+:") then
    return 'give HOST:PORT, such as "api.example.com:443", or "*.example.com:443" for all names below it'
  end
end

local function refuse_authority(authority, scheme)
  local user, address = authority:match("^(.*)@(.*)$")
  local _, colons = (user or ""):gsub(":", "")
  if user and (user:find("[@%[%]?#]") or colons > 1) then
    return "write @ : / ? # [ ] in a user name or password as %40 %3a %2f %3f %23 %5b %5d"
  end
  address = address or authority
  if address == "" or address:find("^:") then return ("name the host, such as %slocalhost"):format(scheme) end
  if address:find("^[^:]*$") or address:find("%]$") then address = address .. ":5672" end
  if not is_host_and_port(address, 1) then
    return "write user:password@host:port, with a host name or address and a port from 1 to 65535"
  end
end

local function refuse_url(url)
  local rest = url:match("^amqps?://(.*)$")
  if not rest then return "begin it with amqp://, or with amqps:// for TLS" end
  if url:find(" ", 1, true) then return "write a blank as %20" end
  if url:gsub("%%%x%x", ""):find("%", 1, true) or url:find("%00", 1, true) then
    return "write a % as %25: two hexadecimal digits must follow it, and not 00"
  end
  local authority, vhost = rest:match("^([^/]*)/?(.*)$")
  if vhost:find("@", 1, true) then return "write a / in a user name or password as %2f, an @ as %40" end
  if vhost:find("/", 1, true) then return "write a / in the name of a virtual host as %2f" end
  if vhost:find("[?#]") then
    return "leave out what follows the virtual host: heartbeat and the like are keys of their own"
  end
  if vhost:find("[:%[%]]") then return "write : [ ] in the name of a virtual host as %3a %5b %5d" end
  if #vhost:gsub("%%%x%x", "x") > 255 then return "the name of a virtual host has at most 255 bytes" end
  return refuse_authority(authority, "amqp://")
end

local function refuse_management(url)
  local rest = url:match("^https?://(.*)$")
  if not rest then return "begin it with http://, or with https:// for TLS" end
  if url:find("[%s?#]") then return "write a blank as %20, and nothing behind a ? or #" end
  return refuse_authority(rest:match("^[^/]*"), "http://")
end

local function refuse_prefetch(value)
  if value == 0 then
    return "without a limit the broker pushes the whole queue into this process, which is how consumers " ..
      "run out of memory; give a whole number from 1 to 65535 (10 is the default)"
  end
end

local function refuse_deadline(value)
  if value >= 30 * minute then
    return "RabbitMQ closes the channel of a consumer that keeps a message for 30 minutes (its " ..
      'consumer_timeout); give less, such as "30s"'
  end
end

local function refuse_heartbeat(value)
  if value % second ~= 0 then return 'the broker counts whole seconds; give such as "60s", or 0 for none' end
end

local function refuse_ttl(value)
  if value % ms ~= 0 then return 'the broker counts whole milliseconds; give such as "1h"' end
end

local function refuse_ordering(value)
  if value ~= "none" and value ~= "key" and not value:find("^header:.") then
    return 'give "none", "key" (order is kept for each routing key) or "header:NAME" (for each value of it)'
  end
end

-- Defaults that follow another key where that was set; with its own default they are 48MiB, 128MiB and 5m.

local function three_quarters_of_limit(value_of)
  local memory = value_of "limits.memory"
  return memory and math.floor(memory * 0.75)
end

local function twice_the_limit(value_of)
  return math.max(128 * MiB, 2 * (value_of "limits.memory" or 0))
end

local function at_least_first_delay(value_of)
  return math.max(5 * minute, value_of "retry.delay" or 0)
end

-- Who is to have many under way needs them at hand.
local function enough_for_all(value_of)
  local workers, concurrency = value_of "workers" or 1, value_of "concurrency" or 1
  return concurrency > 1 and math.max(10, workers * concurrency) or 10
end

local function reject_where_limited(value_of)
  return (value_of "declare.max_length" ~= -1 or value_of "declare.max_bytes") and "reject-publish" or nil
end

-- The keys.

local a_management_url = 'the URL of RabbitMQ\'s management, such as "http://user:password@localhost:15672"'

local file = { refuse = refuse_missing_file }
local url = { refuse = refuse_url }
local a_url = 'a URL, such as "' .. DEFAULT_URL .. '"'
local urls = 'a list of URLs, such as { "amqp://user:password@host:5672/%2f" } (in a flag: by commas)'
local hosts = 'a list of HOST:PORT, such as { "api.example.com:443" } (in a flag: by commas)'

local list_of_bindings = 'a list such as { { exchange = "orders", routing_key = "order.*" } } (in a flag: ' ..
  "orders=order.*, by commas)"

local ROOT = {
  { "broker.url", with(text(a_url), { refuse = refuse_url, max = 2048 }) }, -- its default is DEFAULT_URL
  { "broker.urls", with(list(urls), url) },
  { "broker.management", with(text(a_management_url), { refuse = refuse_management, max = 2048 }) },
  { "broker.auth", choice("plain", "plain", "external") },
  { "broker.tls.ca", with(path "the path of a PEM file with the authorities to trust", file) },
  { "broker.tls.cert", with(path "the path of a PEM file with the client's certificate", file) },
  { "broker.tls.key", with(path "the path of a PEM file with the client's key", file) },
  { "broker.tls.verify", boolean(true) },
  { "broker.heartbeat", with(duration(60 * second, 0, 65535 * second), { refuse = refuse_heartbeat }) },
  { "broker.connection_timeout", duration(3 * second, 10 * ms, 10 * minute) },
  { "broker.io_timeout", duration(10 * second, 10 * ms, 10 * minute) },
  { "broker.wait", duration(0, 0, day) },
  { "broker.max_channels", integer(16, 1, 65535) },
  { "cache.memory", size(32 * MiB, 64 * KiB, TiB) },
  { "cache.entries", integer(10000, 1, 1e9) },
  { "cache.ttl", duration(hour, ms, 365 * day) },
  { "memory.warning", size(256 * MiB, MiB, 16 * TiB) },
  { "memory.critical", size(512 * MiB, MiB, 16 * TiB) },
  { "memory.interval", duration(5 * second, 100 * ms, hour) },
  { "status.listen", with(text("HOST:PORT", "127.0.0.1:9464"), { refuse = refuse_listen }) },
  { "sandbox.seccomp", choice("on", "on", "required", "off") },
  { "shutdown_timeout", duration(30 * second, 0, hour) },
  { "log.level", choice("info", "debug", "info", "warning", "error") },
  { "log.format", choice("auto", "auto", "logfmt", "json") },
  { "log.handler_lines", integer(10000, 1, 1e6) },
  { "max_messages", with(integer(0, 1, WHOLE_MAX), { per_run = true }) },
  { "exit_when_idle", with(duration(-1, 0, day), { per_run = true }) },
}

local CONSUMER = {
  { "queue", text "a queue's name, of 1 to 255 bytes" },
  { "handler", with(path "the path of a Lua script", file) },
  { "workers", integer(1, 1, 256) },
  { "concurrency", integer(1, 1, 1024) },
  { "prefetch", with(integer(enough_for_all, 1, 65535), { refuse = refuse_prefetch }) },
  { "rate", kinds.rate() },
  { "decode", choice("auto", "auto", "json", "raw") },
  { "ordering", with(text('"none", "key" or "header:NAME"', "none"), { refuse = refuse_ordering }) },
  { "limits.memory", size(64 * MiB, MiB, 64 * GiB) },
  { "limits.deadline", with(duration(30 * second, ms, 30 * minute), { refuse = refuse_deadline }) },
  { "limits.grace", duration(second, 10 * ms, 5 * minute) },
  { "limits.message", size(16 * MiB, 1, GiB) },
  { "recycle.messages", integer(10000, 1, WHOLE_MAX) },
  { "recycle.memory", size(three_quarters_of_limit, 512 * KiB, 64 * GiB) },
  { "recycle.process_memory", size(twice_the_limit, MiB, TiB) },
  { "retry.attempts", integer(5, 1, 1000) },
  { "retry.delay", duration(second, 0, 30 * day) },
  { "retry.factor", number(2, 1, 100) },
  { "retry.max_delay", duration(at_least_first_delay, 0, 30 * day) },
  { "retry.jitter", number(0.1, 0, 1) },
  { "dead_letter", text "a queue's name, of 1 to 255 bytes" },
  { "declare.type", choice(nil, "classic", "quorum") },
  { "declare.durable", boolean(true) },
  { "declare.max_length", with(integer(100000, 1, 2 ^ 31 - 1), { none = -1 }) },
  { "declare.max_bytes", size(nil, 1, 1024 * TiB) },
  { "declare.overflow", choice(reject_where_limited, "drop-head", "reject-publish", "reject-publish-dlx") },
  { "declare.ttl", with(duration(nil, ms, 49 * day), { refuse = refuse_ttl }) },
  { "declare.dead_letter_exchange", with(text "an exchange's name, of at most 255 bytes", { empty = true }) },
  { "declare.dead_letter_routing_key", with(text "a routing key, of at most 255 bytes", { empty = true }) },
  { "declare.bindings", bindings(list_of_bindings) },
  { "declare.single_active_consumer", boolean(false) },
  { "declare.delivery_limit", integer(nil, 0, 2 ^ 31 - 1) },
  { "http.allow", with(list(hosts), { refuse = refuse_allowed }) },
  { "http.ca", with(path "the path of a PEM file with the authorities to trust", file) },
  { "http.timeout", duration(10 * second, ms, 30 * minute) },
  { "http.max_response", size(MiB, 1, GiB) },
  { "http.per_host", integer(256, 1, 1024) },
  { "http.breaker_failures", integer(5, 0, 1e6) },
  { "http.breaker_pause", duration(10 * second, ms, hour) },
}

-- Makes a scope of { path, rule } pairs: the rules in their order; `by_path`; `groups`, the names below each
-- "prefix."; and `outside`, where config.lua keeps what flags and environment say.
local function scope_of(pairs_of_keys)
  local scope = { by_path = {}, groups = {}, outside = {} }
  for i, pair in ipairs(pairs_of_keys) do
    local name, rule = pair[1], pair[2]
    rule.path, rule.scope = name, scope
    scope[i], scope.by_path[name] = rule, rule
    local group = ""
    for part, dot in name:gmatch("([^.]+)(%.?)") do
      scope.groups[group] = scope.groups[group] or {}
      scope.groups[group][part] = true
      group = group .. part .. dot
    end
  end
  return scope
end

return {
  root = scope_of(ROOT),
  consumer = scope_of(CONSUMER),
  DEFAULT_URL = DEFAULT_URL,
  a_list_of_urls = urls,
}
