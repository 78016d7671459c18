-- The project's own files, for specs that hold them against the program.
local project = { root = require "support.root" }

---@param name string of a file, from the project's root
---@return string text
function project.read(name)
  local file = assert(io.open(project.root .. "/" .. name))
  local text = file:read("*a")
  file:close()
  return text
end

return project
