-- Who judges a soak (spec/support/slope.lua) tells what grows for ever from what only goes up and down.
local slope = require "support.slope"

local MIB = 1024 * 1024

describe("the judge of a soak", function()
  before_each(function() math.randomseed(1) end)

  -- Ten minutes, a sample each two seconds.
  local function complaint(bytes_at, count)
    local samples = {}
    for i = 0, (count or 300) - 1 do samples[#samples + 1] = { at = 2 * i, bytes = bytes_at(2 * i) } end
    return slope.complaint("worker", samples)
  end

  local function noise(bytes) return (math.random() - 0.5) * bytes end

  it("sees what grows steadily, through noise, and says how fast", function()
    local words = complaint(function(at) return 8 * MIB + at * 4096 + noise(MIB) end)
    assert.matches("^worker grows: its lows by 1%.%d+ MiB in 39%d s after its warm%-up, from [89]%.", words)
    assert.matches(" MiB: 1[345]%.%d MiB an hour$", words)
  end)

  it("sees a saw-tooth whose lows rise", function()
    assert.is_truthy(complaint(function(at) return 8 * MIB + at % 24 * MIB + at * 3000 end))
  end)

  for name, bytes_at in pairs {
    ["what stays as it is"] = function() return 8 * MIB end,
    ["noise"] = function() return 8 * MIB + noise(4 * MIB) end,
    ["a saw-tooth that comes down to where it was"] = function(at) return 8 * MIB + at % 26 * MIB end,
    ["a warm-up"] = function(at) return 8 * MIB + math.min(at, 140) * MIB / 10 end,
    ["a step that is taken once"] = function(at) return (at < 400 and 8 or 12) * MIB end,
    ["growth within the tolerance"] = function(at) return 8 * MIB + at * 500 end,
    ["what shrinks"] = function(at) return 30 * MIB - at * 10000 end,
  } do
    it("has nothing to say of " .. name, function()
      assert.is_nil(complaint(bytes_at))
    end)
  end

  it("does not judge a series that is too short", function()
    assert.is_nil(complaint(function(at) return at * MIB end, 50))
    assert.is_nil(complaint(function(at) return at * MIB end, 1))
    assert.is_nil(complaint(function(at) return at * MIB end, 0))
    assert.is_truthy(complaint(function(at) return at * MIB end, 60))
  end)
end)
