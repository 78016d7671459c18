-- Tries: to have cjson read escapes that are cut off, and surrogates that are half.
-- Expect: acked
local attack = require "attack"

return attack(function()
  local json = require "cjson"
  for _, text in ipairs { "\\", "\\u", "\\u1", "\\u12", "\\u123", "\\ud800", "\\ud800\\u",
    "\\ud800\\udc00", "\\udc00", "\\uD83D\\uDE0", "\\x41", "\0", "\1", "\255" } do
    pcall(json.decode, '"' .. text)
    pcall(json.decode, '"' .. text .. '"')
    pcall(json.decode, '{"' .. text .. '":1}')
  end
end)
