-- `moonrabbit test`: busted, as its users know it, in this program's LuaJIT. It comes from wherever Lua's
-- modules come from (LUA_PATH, LUA_CPATH, and the system's folders).

-- Busted ends a run that failed by an error without words, and one that was cut short by os.exit.
local function describe(problem)
  if problem == nil then return nil end
  return debug.traceback(tostring(problem), 2)
end

return function(arguments)
  arguments[0] = "moonrabbit test"
  table.insert(arguments, 1, "--ignore-lua") -- a .busted file may name another Lua: it is this one
  _G.arg = arguments
  local found, runner = pcall(require, "busted.runner")
  if not found then
    io.stderr:write("moonrabbit: busted cannot be loaded. Debian has it in the package lua-busted; ",
      "elsewhere 'luarocks --lua-version 5.1 install busted' gets it. LUA_PATH and LUA_CPATH say where.\n",
      "moonrabbit: ", tostring(runner):match("^[^\n]*"), "\n")
    return 2
  end
  local ok, problem = xpcall(function() runner { standalone = false } end, describe)
  if not ok and problem then io.stderr:write("moonrabbit: ", problem, "\n") end
  return ok and 0 or 1
end
