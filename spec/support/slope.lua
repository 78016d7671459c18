-- Whether a process grows for ever, by how much memory it had at each time. Pure: samples in, a sentence out.
--
-- What it has at its lowest is looked at, window by window: a saw-tooth, as recycling makes it, may be as
-- high as it likes, so long as it comes down to where it was. A process grows whose lows rise in nearly all
-- pairs of windows, and by more than a tolerance; a step that is taken once rises in few pairs. The slope is
-- the median of those of all pairs (Theil and Sen), so that no single window makes it.
local slope = {}

local WARM_UP_SHARE = 0.25 -- of the series, which is not looked at
local WINDOWS = 8
local SAMPLES_LEAST = 5    -- in each window
local RISING_SHARE = 0.85  -- of all pairs of windows
local TOLERANCE_BYTES = 512 * 1024
local TOLERANCE_SHARE = 0.03 -- of what it has
local MIB = 1024 * 1024

---So many samples, in even steps, are enough to judge by.
slope.enough = math.ceil(WINDOWS * SAMPLES_LEAST / (1 - WARM_UP_SHARE)) + WINDOWS

-- The samples after the warm-up.
local function settled(samples)
  local first, last = samples[1], samples[#samples]
  local from, kept = first.at + (last.at - first.at) * WARM_UP_SHARE, {}
  for _, sample in ipairs(samples) do
    if sample.at >= from then kept[#kept + 1] = sample end
  end
  return kept
end

-- The lowest sample of each window, at the window's middle.
local function lows_of(samples)
  local lows, size = {}, #samples / WINDOWS
  for window = 0, WINDOWS - 1 do
    local from, to = math.floor(window * size) + 1, math.floor((window + 1) * size)
    local least = math.huge
    for i = from, to do least = math.min(least, samples[i].bytes) end
    lows[#lows + 1] = { at = (samples[from].at + samples[to].at) / 2, bytes = least }
  end
  return lows
end

local function median(figures)
  table.sort(figures)
  local half = math.floor(#figures / 2)
  return #figures % 2 == 1 and figures[half + 1] or (figures[half] + figures[half + 1]) / 2
end

---@param samples { at: number, bytes: number }[] in the order of time; at: seconds
---@return { per_second: number, growth: number, seconds: number, rising: number, low: number }|nil fit
---  growth: bytes over `seconds`; rising: share of pairs; low: bytes in the beginning. nil: too few samples
function slope.fit(samples)
  if #samples < 2 then return nil end
  local kept = settled(samples)
  if #kept < WINDOWS * SAMPLES_LEAST then return nil end
  local lows, slopes, rising = lows_of(kept), {}, 0
  for i = 1, #lows do
    for j = i + 1, #lows do
      slopes[#slopes + 1] = (lows[j].bytes - lows[i].bytes) / (lows[j].at - lows[i].at)
      if lows[j].bytes > lows[i].bytes then rising = rising + 1 end
    end
  end
  local seconds, per_second = lows[#lows].at - lows[1].at, median(slopes)
  return { per_second = per_second, growth = per_second * seconds, seconds = seconds,
    rising = rising / #slopes, low = lows[1].bytes }
end

---@param fit table of slope.fit
---@return boolean
function slope.grows(fit)
  local tolerance = math.max(TOLERANCE_BYTES, fit.low * TOLERANCE_SHARE)
  return fit.growth > tolerance and fit.rising >= RISING_SHARE
end

---@param name string of the process
---@param samples table[]
---@return string|nil complaint where it grows
function slope.complaint(name, samples)
  local fit = slope.fit(samples)
  if not fit or not slope.grows(fit) then return nil end
  local words = "%s grows: its lows by %.2f MiB in %.0f s after its warm-up, from %.2f MiB: %.1f MiB an hour"
  return words:format(name, fit.growth / MIB, fit.seconds, fit.low / MIB, fit.per_second * 3600 / MIB)
end

return slope
