-- What is counted, told and forgotten:  moonrabbit test examples/aggregator
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

local NOON = 1767268800 -- 2026-01-01 12:00:00 UTC, a whole minute

describe("page views", function()
  local worker

  before_each(function() worker = mr.worker(here .. "handler.lua", { config = here .. "moonrabbit.lua" }) end)
  after_each(function() worker:close() end)

  local function view(seconds)
    local r = worker:deliver { body = { page = "/" }, timestamp = NOON + seconds }
    assert.equal("ack", r.verdict)
    return r.logs
  end

  local function count(minute)
    return worker:cache().get("views " .. NOON / 60 + minute)
  end

  it("are counted by the minute in which they were, whatever becomes of the Lua state", function()
    for _, seconds in ipairs { 0, 30, 59, 60, 20 } do view(seconds) end
    worker:recycle()
    view(119)
    assert.same({ 4, 2 }, { count(0), count(1) })
  end)

  it("are told once, when the next minute begins", function()
    view(0)
    assert.same({}, view(59))
    local logs = view(60)
    assert.same({ "minute", 2, "12:01" }, { logs[1].message, logs[1].fields.views, logs[1].fields.ends })
    assert.same({}, view(61))
  end)

  it("are forgotten after an hour", function()
    view(0)
    worker:advance("61m")
    assert.is_nil(count(0))
  end)
end)
