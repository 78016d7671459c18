-- Where the project lies, whatever folder a spec runs in: an absolute path without a slash at its end.
local stdlib = require "posix.stdlib"

local here = debug.getinfo(1, "S").source:match("^@(.*)root%.lua$")
return assert(stdlib.realpath(here .. "../.."))
