-- Clean: how many orders there were in each of the last five seconds.
local seconds = {}

return function()
  local now = os.time()
  seconds[now] = (seconds[now] or 0) + 1
  for second in pairs(seconds) do
    if second < now - 5 then seconds[second] = nil end
  end
end
