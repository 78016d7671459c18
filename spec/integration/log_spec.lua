-- What repeats is bounded in the log, and what was left out is counted. Where no line can be written messages
-- are handled all the same.
local consumer = require "support.consumer"
local linux = require "support.linux"
local moonrabbit = require "support.moonrabbit"
local process = require "support.process"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

describe("the log", function()
  after_each(require "support.cleanup")

  -- Waits until lines with this message, and those left out before them or since, are so many.
  local function wait_for_all(program, msg, left_out, count)
    local written, suppressed
    local all = program:wait_until(function()
      written, suppressed = 0, 0
      for _, line in ipairs(program:log_lines()) do
        if line.msg == msg then written = written + 1 end
        if line.msg == msg or line.msg:find(left_out, 1, true) then
          suppressed = suppressed + (line.suppressed or 0)
        end
      end
      return written + suppressed >= count
    end, consumer.PATIENCE)
    assert(all, ("%d written, %d left out"):format(written, suppressed))
    assert.equal(count, written + suppressed)
    return written
  end

  local function start(handler, flags, count)
    local queue = rabbit.queue "log"
    consumer.fill(queue, count)
    flags["memory-interval"] = "100ms"
    local program = consumer.start(queue, handler, flags)
    program.queue = queue
    return program
  end

  it("has so many lines of handlers in a second as log.handler_lines says", function()
    local program = start("return function() for _ = 1, 100 do log.info 'noise' end end",
      { ["log-handler-lines"] = 5 }, 10)
    local written = wait_for_all(program, "noise", "lines of handlers were left out", 1000)
    consumer.stop(program)
    assert.is_true(written >= 5 and written < 500, written .. " lines")
  end)

  it("does not repeat what it says of messages that fail", function()
    local program = start("return function() error 'as told' end", { ["retry-attempts"] = 1, prefetch = 100 },
      1000)
    local written = wait_for_all(program, "message rejected: the handler failed and no attempt is left",
      "lines that said the same of other messages", 1000)
    consumer.stop(program)
    assert.is_true(written >= 10 and written < 500, written .. " lines")
  end)

  it("nor what it says of publications that nobody takes", function()
    local program = start(([[
      return { setup = function(worker)
        for _ = 1, 300 do worker:publish("", %q, "lost") end
      end, handle = function() end }]]):format(rabbit.name "log-nowhere"), {}, 1)
    local written = wait_for_all(program, "what setup or teardown published is lost",
      "lines that said the same of other publications", 300)
    consumer.stop(program)
    assert.is_true(written < 150, written .. " lines")
  end)

  -- The kernel's answer to a line too many was SIGXFSZ, by which the program died.
  it("may reach the longest that a file may be: the program goes on, and tells it all later", function()
    local program = start("return handled", { prefetch = 100 }, 1000)
    consumer.wait_handled(program, 10)
    linux.limit_files(program.pid, 4096)
    assert(rabbit.eventually(function()
      local counts = assert(rabbit.counts(program.queue))
      return counts.ready + counts.unacked == 0
    end))
    linux.limit_files(program.pid)
    assert(program:kill "TERM")
    assert.equal(1000, consumer.finish(program).acked)
  end)

  it("may be on a disk that is full", function()
    local queue, space = rabbit.queue "log", workspace.new()
    consumer.fill(queue, 1000)
    local result = process.run { "sh", "-c", 'exec "$0" "$@" 2>/dev/full', moonrabbit.path, "run",
      consumer.write_handler(space, "return handled"), "--queue", queue, "--broker", rabbit.url,
      "--max-messages", "1000" }
    assert.equal(0, result.code)
    consumer.assert_left(queue, 0)
  end)

  -- Whatever becomes of them: in the host's words, in a parser's, in a traceback, of a dead letter.
  it("has no body of a message in it, unless a handler tells it", function()
    local queue, dead = rabbit.queue "log", rabbit.queue "log-dead"
    local endings = {}
    for i, ending in ipairs { 'return "reject", "as planned"', 'error "as planned"', "return {} + 1",
      "return 5", 'return "retry", "1ms"', 'return ("x"):rep(2 ^ 27)' } do
      endings[i] = ("function() %s end"):format(ending)
    end
    consumer.fill(queue, #endings, { body = '{"id":%d,"secret":"swordfish"}' })
    consumer.fill(queue, 1, { body = '{"secret":"swordfish" %d' })
    consumer.fill(queue, 1, { body = "swordfish %d" })
    local handler = ("local ends = { %s } return function(order) return ends[order.id]() end")
      :format(table.concat(endings, ", "))
    local program = consumer.start(queue, handler, { ["retry-attempts"] = 2, ["retry-delay"] = "1ms",
      ["dead-letter"] = dead, ["limits-memory"] = "4MiB" })
    assert(rabbit.eventually(function() return rabbit.counts(dead).ready == #endings + 2 end))
    consumer.stop(program)
    assert.is_truthy(program:stderr():find "as planned")
    assert.is_nil(program:stderr():find "swordfish")
  end)
end)
