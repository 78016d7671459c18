-- A soak (support/soak.lua, `make soak`) of seconds: the load goes through, and the worker that is let grow
-- is found. That no other does takes minutes to say.
local soak = require "support.soak"

describe("a soak", function()
  after_each(require "support.cleanup")

  it("finds the process that grows, by the load of some seconds", function()
    local lines = 0
    local result = soak.run { seconds = 6, leak = true, tell = function() lines = lines + 1 end }
    assert.is_true(result.published > 0 and lines > 0 and #result.rows >= 5)
    local found = {}
    for _, complaint in ipairs(result.complaints) do
      found[#found + 1] = complaint:match "^leaky 1, pid %d+ grows: "
    end
    assert.equal(1, #found)
  end)
end)
