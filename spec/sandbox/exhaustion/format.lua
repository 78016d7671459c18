-- Tries: to have string.format write by formats that are too large or broken.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, format in ipairs { "%", "%z", "%999999999d", "%.999999999f", "%1000s", "%-+ #0d",
    ("%d"):rep(1e5), "%*d", "%n", "%p", "%99.99f", "%c", "%5%", "%\0", "%ll", "%hhd", "%a", "%A",
    "%q" } do
    pcall(string.format, format)
    for _, value in pairs { 1e308, -1e308, 0 / 0, 2 ^ 63, "x\0y", {}, true } do
      pcall(string.format, format, value)
    end
  end
end)
