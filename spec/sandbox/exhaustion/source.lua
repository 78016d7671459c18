-- Tries: to have the parser recurse until its stack is used up.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, source in ipairs { ("("):rep(1e5), "return " .. ("{"):rep(1e5),
    "return " .. ("-"):rep(1e5) .. "1", "return " .. ("not "):rep(1e5) .. "1", ("do "):rep(1e5),
    ("function f() "):rep(1e5), "a" .. (".b"):rep(1e5), "return " .. ("1 .. "):rep(1e5) .. "1",
    ("a,"):rep(1e5) .. "a = 1", ("if a then "):rep(1e5), "return " .. ("function() return "):rep(1e5),
    "local " .. ("a,"):rep(1e5) .. "a", ("[["):rep(1e5), "return " .. ("2^"):rep(1e5) .. "2",
    "return [" .. ("="):rep(1e6) .. "[", ("goto a "):rep(1e4), "\0", "\xef\xbb\xbf",
    "return 0x" .. ("f"):rep(1e5), "return '\\" .. ("9"):rep(1e5), "return " .. ("a["):rep(1e5),
    ("::a::"):rep(1e3) } do
    load(source)
  end
end)
