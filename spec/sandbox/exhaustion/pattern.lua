-- Tries: to compile and match patterns that are too large, too deep or broken.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local text = ("a"):rep(1000)
  for _, pattern in ipairs { ("("):rep(1e5), ("()"):rep(1e5), ("(a"):rep(100) .. (")"):rep(100), "%",
    "[", "[]", "[a", "%b", "%bx", "%f", "%f[", "%1", "(%1)", "(a)%2", ("a?"):rep(1e5), ("a*"):rep(2),
    "[" .. ("a"):rep(1e6) .. "]", ("%b()"):rep(1e4), "[z-a]", "[%]", "[^", "(()", "a)",
    ("[%w]"):rep(1e4) } do
    pcall(string.find, text, pattern)
    pcall(string.gsub, text, pattern, "%1%9%0")
    pcall(function() return text:gmatch(pattern)() end)
  end
end)
