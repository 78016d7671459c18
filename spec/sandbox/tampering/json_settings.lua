-- Tries: to change how the bodies of the next messages are decoded.
-- Expect: acked
local attack = require "attack"
local json, safe = require "cjson", require "cjson.safe"

return attack(function()
  for _, each in ipairs { json, safe } do
    each.decode_max_depth(1)
    each.decode_invalid_numbers(true)
    each.encode_invalid_numbers(true)
    each.decode_max_depth(1000)
  end
  json.encode_keep_buffer(false)
  json.encode_number_precision(3)
end)
