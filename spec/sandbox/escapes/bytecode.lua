-- Tries: to load bytecode as a string, in pieces, behind a mode, a name and an environment.
-- Expect: acked
local attack = require "attack"

local function in_pieces(text)
  local at = 0
  return function()
    at = at + 1
    return text:sub(at, at)
  end
end

return attack(function()
  for _, text in ipairs { "\27LJ\2\0\0", "\27LJ\1\8", "\27Lua", "\27", "\27LJ\2\10\0\0" } do
    assert(not load(text) and not loadstring(text) and not load(text, "=x", "b") and not load(text, "=x",
      "bt", {}))
    assert(not load(in_pieces(text)) and not load(in_pieces(text), "=x", "b"))
  end
end)
