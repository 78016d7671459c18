-- Tries: to have builtins call builtins, where no Lua code is between them.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, call in ipairs { pcall, xpcall, error, setmetatable, load, require, unpack, rawset, next, select,
    coroutine.yield, coroutine.wrap, string.rep, table.sort, require "log".info, print, collectgarbage } do
    pcall(string.gsub, "xyz", ".", call)
    pcall(table.sort, { 3, 1, 2 }, call)
    pcall(load, call)
    pcall(xpcall, error, call)
    pcall(table.foreach, { 1, 2 }, call)
    coroutine.resume(coroutine.create(call), call, call)
    pcall(function() return setmetatable({}, { __index = call, __call = call, __tostring = call }).x end)
    pcall(tostring, setmetatable({}, { __tostring = call }))
  end
end)
