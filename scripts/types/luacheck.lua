-- The globals of a handler, as a luacheck std. In your .luacheckrc:
--
--     stds.moonrabbit = dofile "scripts/types/luacheck.lua"
--     files["handlers"] = { std = "moonrabbit" }
--
-- A script may set globals of its own while it loads; luacheck is right to dislike it.

local function fields(names)
  local found = {}
  for name in names:gmatch("%S+") do found[name] = {} end
  return { fields = found }
end

local read_globals = fields [[
  assert collectgarbage error getmetatable ipairs load loadstring next pairs pcall print rawequal rawget
  rawset require select setmetatable sleep tonumber tostring type unpack xpcall _G _VERSION
]].fields

read_globals.string = fields [[
  byte char find format gmatch gsub len lower match rep reverse sub upper
]]
read_globals.table = fields "concat foreach foreachi getn insert maxn move remove sort"
read_globals.math = fields [[
  abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow
  rad random randomseed sin sinh sqrt tan tanh
]]
read_globals.bit = fields "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex"
read_globals.coroutine = fields "create isyieldable resume running status wrap yield"
read_globals.os = fields "clock date difftime time"

return { read_globals = read_globals }
