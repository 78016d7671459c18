-- The problems of a configuration, as people read them: a list of sentences, values as they may stand in one,
-- and the word that somebody probably meant. Called by the other config scripts with `host`, functions in C.
--
-- Invariant: no text that came from outside is printed but through show(), which hides the passwords in it.

local host = ...

local SHOWN_MAX = 100

local M = { list = {} }

function M.complain(format, ...)
  M.list[#M.list + 1] = (format:format(...):gsub("%c+", " "):gsub(" +$", ""))
end

local function escape(char)
  return char == '"' and '\\"' or ("\\x%02x"):format(char:byte())
end

-- A value from outside, as it may stand in a message.
function M.show(value)
  local kind = type(value)
  if kind == "number" then return ("%.15g"):format(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "nil" then return "nothing" end
  if kind ~= "string" then return "a " .. kind end
  local text = host.redact(value)
  if #text > SHOWN_MAX then text = text:sub(1, SHOWN_MAX) .. "..." end
  return '"' .. text:gsub('[%c"]', escape) .. '"'
end

function M.one_of(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = '"' .. word .. '"' end
  if #quoted == 1 then return quoted[1] end
  return table.concat(quoted, ", ", 1, #quoted - 1) .. " or " .. quoted[#quoted]
end

-- Levenshtein's distance, where two neighbours swapped count as one.
local function distance(a, b)
  local before, above, row = {}, {}, {}
  for j = 0, #b do above[j] = j end
  for i = 1, #a do
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      row[j] = math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, above, row = above, row, before
  end
  return above[#b]
end

-- The candidate that `name` is most likely a slip of; nil where none is near.
local function nearest(name, candidates)
  if #name > 64 then return nil end
  local best, best_distance = nil, math.max(1, math.floor(#name / 3)) + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(name:lower(), candidate:lower())
    if d < best_distance then best, best_distance = candidate, d end
  end
  return best
end

-- ": did you mean <prefix><candidate>?", or nil.
function M.did_you_mean(name, candidates, prefix)
  local best = nearest(name, candidates)
  return best and (": did you mean %s%s?"):format(prefix, best)
end

return M
