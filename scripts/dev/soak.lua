-- Runs a soak (spec/support/soak.lua), shows the memory of each process while it lasts, and fails with a
-- sentence where one grows. scripts/dev/soak starts it.
local bench = require "support.bench"

local UNITS = { [""] = 1, s = 1, m = 60, h = 3600 }

local function seconds_of(text)
  local number, unit = text:match "^(%d+)(%l?)$"
  if not number or not UNITS[unit] or tonumber(number) == 0 then
    io.stderr:write(("soak: '%s' is no duration: 90s, 10m and 8h are\n"):format(text))
    os.exit(2)
  end
  return tonumber(number) * UNITS[unit]
end

local function run(seconds, leak)
  bench.rabbit() -- there before what is loaded next
  return require "support.soak".run { seconds = seconds, leak = leak, tell = print }
end

local function main(duration, leak)
  local seconds = seconds_of(duration)
  local done, result = xpcall(run, debug.traceback, seconds, leak)
  local cleaned, problem = pcall(require "support.cleanup")
  if not done or not cleaned then
    io.stderr:write("soak: ", done and problem or result, "\n")
    os.exit(1)
  end
  bench.table(require "support.soak".head, result.rows)
  for _, complaint in ipairs(result.complaints) do print(complaint) end
  if #result.complaints == 0 then print(("no process grows, over %d messages"):format(result.published)) end
  os.exit(#result.complaints == 0 and 0 or 1)
end

io.stdout:setvbuf "line"
main(arg[1], arg[2] == "leak")
