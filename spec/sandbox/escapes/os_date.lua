-- Tries: to make the C library read files, by odd formats and time zones.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, format in ipairs { "%c", "%Z%z", "*t", "!*t", "%", "%E", "%O", ("%Z"):rep(200), "%-d",
    "TZ=/etc/passwd" } do
    pcall(os.date, format)
    pcall(os.date, format, 2 ^ 53)
    pcall(os.date, format, -2 ^ 53)
    pcall(os.date, format, 0 / 0)
  end
  pcall(os.time, { year = 2 ^ 40, month = -2 ^ 40, day = 1 })
end)
