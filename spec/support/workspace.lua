-- Temporary folders for specs: where handlers and configurations are written. Nothing outside of them is
-- touched, and all are removed by cleanup, for after_each.
local dirent = require "posix.dirent"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"

local workspace = {}
local folders = {}

local Workspace = {}
Workspace.__index = Workspace

---@return table workspace its folder is workspace.path
function workspace.new()
  local path = assert(stdlib.mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/moonrabbit-spec.XXXXXX"))
  folders[#folders + 1] = path
  return setmetatable({ path = path }, Workspace)
end

local function make_folders(base, name)
  for slash in name:gmatch("()/") do
    local folder = base .. "/" .. name:sub(1, slash - 1)
    if not stat.stat(folder) then
      assert(stat.mkdir(folder))
    end
  end
end

---Writes a file, in folders that are made as needed. An older one is replaced whole: nobody sees half of it.
---@param name string
---@param text string
---@return string path
function Workspace:write(name, text)
  make_folders(self.path, name)
  local path = self.path .. "/" .. name
  local file = assert(io.open(path .. ".new", "w"))
  assert(file:write(text))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
  return path
end

---@param name string
---@return string|nil text, string|nil reason
function Workspace:read(name)
  local file, reason = io.open(self.path .. "/" .. name, "r")
  if not file then
    return nil, reason
  end
  local text = file:read("*a")
  file:close()
  return text
end

---@return string[] names of what is in the folder, in order
function Workspace:names()
  local names = {}
  for _, name in ipairs(dirent.dir(self.path)) do
    if name ~= "." and name ~= ".." then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

local function remove(path)
  local status = stat.lstat(path)
  if not status then
    return
  end
  if stat.S_ISDIR(status.st_mode) == 0 then
    unistd.unlink(path)
    return
  end
  for _, name in ipairs(dirent.dir(path)) do
    if name ~= "." and name ~= ".." then
      remove(path .. "/" .. name)
    end
  end
  unistd.rmdir(path)
end

function workspace.cleanup()
  for _, path in ipairs(folders) do
    remove(path)
  end
  folders = {}
end

return workspace
