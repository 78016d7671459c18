-- Tries: to resume, wrap and yield where there is nothing to be resumed.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local self
  self = coroutine.create(function() return coroutine.resume(self) end)
  assert(select(3, coroutine.resume(self)) ~= nil and not coroutine.resume(self))
  local outer = coroutine.running()
  local inner = coroutine.wrap(function() return outer and coroutine.resume(outer) end)
  assert(not inner() and not pcall(inner))
  for _, call in ipairs { coroutine.resume, coroutine.wrap, coroutine.create, coroutine.status } do
    assert(not pcall(call, 1))
  end
  assert(not coroutine.resume(coroutine.create(coroutine.wrap(error))))
end)
