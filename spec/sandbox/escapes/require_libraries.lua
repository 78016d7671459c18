-- Tries: to require what LuaJIT has ready to be required.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, name in ipairs { "ffi", "jit", "jit.util", "jit.opt", "jit.profile", "string.buffer", "table.new",
    "table.clear", "io", "os", "debug", "package", "_G", "string", "thread" } do
    assert(not pcall(require, name), name)
  end
end)
