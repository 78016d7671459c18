-- Tries: to require a file outside of its folder, by names that look like paths.
-- Expect: acked
local attack = require "attack"

return attack(function()
  for _, name in ipairs { "/etc/passwd", "../outside", "..outside", "..", ".", "", "./outside",
    ".outside", "outside.", "a/../../outside", "outside\0", "\0", "//outside", "~/x", "%2e%2e/outside",
    "handlers\\outside", ("a."):rep(200) .. "a", ("a"):rep(1e6) } do
    assert(not pcall(require, name), name)
  end
  for _, name in ipairs { 1, {}, true, print } do
    assert(not pcall(require, name))
  end
end)
