-- Tries: to replace every function of every library.
-- Expect: acked
local attack = require "attack"

local LIBRARIES = { string, table, math, os, bit, coroutine, require "cjson", require "cjson.safe",
  require "log", require "memory", require "cache" }

return attack(function()
  for _, library in ipairs(LIBRARIES) do
    local before = 0
    for name, member in pairs(library) do
      before = before + 1
      assert(not pcall(function() library[name] = print end), name)
      assert(not pcall(rawset, library, name, print), name)
      assert(library[name] == member)
    end
    assert(before > 0 and not pcall(function() library.new_name = 1 end))
  end
end)
