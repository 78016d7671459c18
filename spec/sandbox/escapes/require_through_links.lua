-- Tries: to require a file outside of its folder through symbolic links inside of it.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, name in ipairs { "trap_linked", "trap_folder.outside", "trap_folder.handlers.names" } do
    local done, why = pcall(require, name)
    assert(not done and why:find("a symbolic link", 1, true), why)
  end
end)
