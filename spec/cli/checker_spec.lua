-- Who checks the campaigns of faults (spec/support/checker.lua) finds what is planted in a journal, and no
-- more.
local checker = require "support.checker"
local process = require "support.process"
local root = require "support.root"
local workspace = require "support.workspace"

describe("the checker", function()
  after_each(workspace.cleanup)

  local function check(journal)
    local state = checker.new()
    for line in journal:gmatch "[^;\n]+" do state:take((line:gsub("^ +", ""))) end
    return state:verdict()
  end

  local function assert_found(found, journal)
    local verdict = check(journal)
    for _, kind in ipairs { "lost", "stuck", "misplaced", "disordered" } do
      assert.same(found[kind] or {}, verdict[kind], kind)
    end
    assert.equal(found.twice or 0, verdict.twice)
    local bad = found.lost or found.stuck or found.misplaced or found.disordered
    assert.equal(bad == nil, select(2, checker.describe(verdict)))
  end

  local TWO = "published 1 out a; published 2 out a;"

  it("has nothing to say of messages that arrive once, where they belong, in turn", function()
    assert_found({}, TWO .. "published 3 dead a; handled 1 out in-place; handled 2 out in-place;"
      .. "handled 3 dead in-place")
  end)

  it("tells what is lost from what is stuck", function()
    assert_found({ lost = { 1 }, stuck = { 2 } }, TWO .. "left 2")
  end)

  it("counts every copy beyond the first", function()
    assert_found({ twice = 2 }, TWO .. ("handled 1 out in-place;"):rep(3) .. "handled 2 out in-place")
  end)

  it("finds what is in the wrong place, which makes it no less lost, and what nobody published", function()
    assert_found({ lost = { 2 }, misplaced = { 2, 7 } },
      TWO .. "handled 1 out in-place; handled 2 dead in-place; handled 7 out in-place")
  end)

  it("finds what comes after a later one of its stream, for the first time", function()
    assert_found({ disordered = { 1 } }, TWO .. "handled 2 out in-place; handled 1 out in-place")
    assert_found({ twice = 1 },
      TWO .. "handled 1 out in-place; handled 2 out in-place; handled 1 out in-place")
  end)

  it("lets a message that was put back come late, but none overtake others by it", function()
    assert_found({}, TWO .. "handled 2 out in-place; handled 1 out put-back")
    assert_found({ disordered = { 1 } }, TWO .. "handled 2 out put-back; handled 1 out in-place")
  end)

  it("compares no messages of different streams, nor of none", function()
    assert_found({}, "published 1 out a; published 2 out b; handled 2 out in-place; handled 1 out in-place")
    assert_found({}, "published 1 out -; published 2 out -; handled 2 out in-place; handled 1 out in-place")
  end)

  it("begins again where all that was handled is read again", function()
    assert_found({ lost = { 2 } }, TWO .. "handled 2 out in-place; again; handled 1 out in-place")
  end)

  it("takes no line that it does not know", function()
    assert.has_error(function() check "vanished 1" end)
    assert.has_error(function() check "published 1 out -; published 1 out -" end)
  end)

  it("is a program, too, whose exit code says whether all is well", function()
    local space = workspace.new()
    local function run(journal)
      return process.run { "luajit", root .. "/spec/support/checker.lua", space:write("journal", journal) }
    end
    local good = run "published 1 out -\nhandled 1 out in-place\n"
    assert.same({ 0, "1 messages: lost 0, stuck 0, misplaced 0, out of order 0, twice 0\n" },
      { good.code, good.out })
    local bad = run "published 1 out -\n"
    assert.same({ 1, "1 messages: lost 1 (1), stuck 0, misplaced 0, out of order 0, twice 0\n" },
      { bad.code, bad.out })
  end)
end)
