-- Tries: to have cjson write a billion nulls for a table with one value.
-- Expect: out of memory
local attack = require "attack"
local json = require "cjson".new()

return attack(function()
  json.encode_sparse_array(true, 0)
  return #json.encode { [1e9] = 1 }
end)
