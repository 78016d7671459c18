-- Tries: to have cjson read and write numbers that are huge or none.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson"
  for _, text in ipairs { "1e999999999", "-1e999999999", "0x", "0x" .. ("f"):rep(1e6),
    "1" .. ("0"):rep(1e6), "nan", "inf", "-infinity", "1e", "1.", ".", "-", "+1", "00", "1e-999999999",
    "0." .. ("0"):rep(1e6) .. "1" } do
    pcall(json.decode, text)
    pcall(json.decode, "[" .. text .. "]")
  end
  for _, number in ipairs { 1e308 * 10, -1e308 * 10, 0 / 0, 2 ^ 63, 5e-324, -0 } do
    pcall(json.encode, number)
    pcall(json.encode, { [number == number and number or 1] = number })
  end
end)
