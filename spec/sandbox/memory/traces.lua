-- Tries: to have the compiler fill memory with machine code and traces.
-- Expect: acked
local attack = require "attack"

local LOOP = "local n = 0 for i = 1, 200 do n = n + i * %d if n %% %d == 1 then n = n - 1 end end return n"

return attack(function()
  for i = 1, 1500 do load(LOOP:format(i, i + 1))() end
end)
