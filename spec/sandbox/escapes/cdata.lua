-- Tries: to bring in the FFI, by numbers of 64 bits, which are its objects.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local number = assert(load "return 0x7fffffffffffffffLL")()
  assert(tostring(number) == "9223372036854775807LL" and getmetatable(number) == "ffi")
  assert(not pcall(function() return number.x end) and not pcall(function() number.x = 1 end))
  assert(not pcall(function() return number() end) and not pcall(function() return #number end))
  assert(not pcall(setmetatable, number, {}) and not pcall(require, "ffi") and ffi == nil)
  assert(not pcall(require "cjson".encode, { number }) and not pcall(string.rep, "x", {}))
  require "log".info("a number", { number = number, complex = load "return 1i"() })
  assert(not pcall(error, number))
end)
