-- Tries: to find other globals in a coroutine.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local globals = coroutine.wrap(function()
    return coroutine.wrap(function() return load "return _G"() end)()
  end)()
  assert(globals == _G and rawequal(globals, _G))
  assert(not pcall(coroutine.wrap(function() stolen = 1 end)))
end)
