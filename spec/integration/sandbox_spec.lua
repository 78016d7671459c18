-- The corpus of hostile scripts: whatever each tries, it is contained, the verdict is the one that its first
-- lines name, the messages beside it are handled by the same script as if nothing had been, each once and
-- uncharged, and its worker dies only where the host ends it.
local corpus = require "support.corpus"

-- On a slow machine LuaJIT alone takes seconds to unwind a deep stack: what is not about time has plenty of
-- it, and what is has enough for those beside it, and for a hook to be reached in between.
local PLENTY = "60s"

local CATEGORIES = {
  { name = "escapes", about = "a way out of the sandbox", memory = "16MiB", deadline = PLENTY },
  { name = "tampering", about = "changing what others use", memory = "16MiB", deadline = PLENTY },
  { name = "memory", about = "getting round limits.memory", memory = "8MiB", deadline = PLENTY },
  { name = "time", about = "getting round limits.deadline", memory = "32MiB", deadline = "2s" },
  { name = "exhaustion", about = "using up what is there", memory = "32MiB", deadline = PLENTY },
}
local GRACE = "1500ms"

local ALL = corpus.NEIGHBOURS

-- Expectation -> what the log says of the attack, each time that it says something: at the first and the last
-- attempt, where these are not all.
local ENDS = {
  rejected = { accepted = { "rejected" }, last = 1 },
  ["asked too often"] = { accepted = { "asked too often" }, first = corpus.ATTEMPTS },
  failed = { accepted = { "failed" } },
  ["out of memory"] = { accepted = { "out of memory" } },
  ["out of time"] = { accepted = { "out of time" } },
  killed = { accepted = { "died" } },
  compiled = { accepted = { corpus.ends_compiled_loops() and "out of time" or "died" } },
  ended = { accepted = { "died", "out of time" } },
}

local function split(expect)
  local kind, text = expect:match("^([%l ]+): (.*)$")
  return kind or expect, text
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

local function assert_ends(result, expect)
  local kind, text = split(expect)
  local wanted = assert(ENDS[kind], expect)
  local first, last = wanted.first or 1, wanted.last or corpus.ATTEMPTS
  assert.equal(last - first + 1, #result.ends, "ends of the attack")
  for i, ended in ipairs(result.ends) do
    local what = ("attempt %d: %s, %s"):format(ended.attempt, ended.outcome, ended.reason)
    assert.equal(first + i - 1, ended.attempt)
    assert.is_true(contains(wanted.accepted, ended.outcome), what)
    assert.is_true(not text or ended.reason:find(text, 1, true) ~= nil, what)
  end
  assert.same({ "attack" }, result.dead)
end

local function assert_neighbours_unharmed(result)
  assert.same({}, result.complaints)
  local expected = {}
  for id = 1, ALL do expected[id] = id .. " at attempt 1" end
  table.sort(result.handled)
  assert.same(expected, result.handled)
  assert.is_falsy(result.redelivered)
end

local function assert_contained(result, expect)
  assert.same({}, result.deaths)
  assert_neighbours_unharmed(result)
  assert.equal(0, result.left)
  if expect == "acked" then
    assert.same({}, result.ends)
    assert.equal(ALL + 1, result.counts.acked)
    return
  end
  assert_ends(result, expect)
  assert.same({ ALL, 1, 0 }, { result.counts.acked, result.counts.dead_letters, result.counts.stale_results })
end

local function assert_not_loaded(script)
  local _, text = split(script.expect)
  local result = corpus.check(script)
  assert.equal(2, result.code, result.err)
  assert.is_true(result.err:find(text, 1, true) ~= nil, result.err)
end

for _, category in ipairs(CATEGORIES) do
  describe(category.about, function()
    local results, raw
    lazy_setup(function()
      results, raw = corpus.run(category.name,
        { memory = category.memory, deadline = category.deadline, grace = GRACE })
    end)
    lazy_teardown(require "support.cleanup")

    for _, script in ipairs(corpus.scripts(category.name)) do
      it(("(%s) %s: %s"):format(script.name, script.tries, script.expect), function()
        if script.expect:find("^not loaded") then
          assert_not_loaded(script)
        else
          assert_contained(results[script.name], script.expect)
        end
      end)
    end

    it("leaves a log of nothing but lines", function()
      assert.same({}, raw)
    end)
  end)
end
