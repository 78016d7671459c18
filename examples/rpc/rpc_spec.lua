-- What is asked and what is answered:  moonrabbit test examples/rpc
local mr = require "moonrabbit.test"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

describe("the temperature server", function()
  local worker

  setup(function() worker = mr.worker(here .. "handler.lua", { config = here .. "moonrabbit.lua" }) end)
  teardown(function() worker:close() end)

  local function ask(question)
    local r = worker:deliver { body = question, reply_to = "answers", correlation_id = "q-1" }
    assert.equal("ack", r.verdict)
    assert.equal(1, #r.published)
    return r.published[1]
  end

  it("answers whoever asked", function()
    local reply = ask { from = "C", to = "F", degrees = 20 }
    assert.same({ "", "answers", "q-1" },
      { reply.exchange, reply.routing_key, reply.properties.correlation_id })
    assert.equal('{"degrees":68}', reply.body)
    assert.equal('{"degrees":100}', ask({ from = "F", to = "C", degrees = 212 }).body)
  end)

  it("answers what it cannot convert, too", function()
    assert.equal('{"error":"degrees is not a number"}', ask({ from = "C", to = "F", degrees = "warm" }).body)
    assert.matches("from and to are C and F", ask({ from = "C", to = "K", degrees = 1 }).body)
  end)

  it("rejects what says nowhere to answer to", function()
    local r = worker:deliver { body = { from = "C", to = "F", degrees = 20 } }
    assert.same({ "reject", "question without a reply_to" }, { r.verdict, r.reason })
  end)

  it("tries a question that fails no second time", function()
    local r = worker:deliver { body = "3", content_type = "application/json", reply_to = "answers" }
    assert.same({ "error", "reject" }, { r.verdict, r.settlement })
    assert.same({}, r.published)
  end)
end)
