-- Tries: to name what was left out, as a global, through _G and by rawget.
-- Expect: acked
local attack = require "attack"
local LEFT_OUT = { "io", "debug", "ffi", "jit", "package", "dofile", "loadfile", "getfenv", "setfenv",
  "module", "newproxy", "gcinfo", "arg", "host", "utf8" }

return attack(function()
  for _, name in ipairs(LEFT_OUT) do
    assert(_G[name] == nil and rawget(_G, name) == nil and load("return " .. name)() == nil, name)
  end
  for _, name in ipairs { "execute", "exit", "getenv", "remove", "rename", "setlocale", "tmpname" } do
    assert(os[name] == nil, name)
  end
  assert(string.dump == nil and ("").dump == nil and string.buffer == nil and table.new == nil)
end)
