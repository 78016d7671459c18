-- Lua values as JSON that people can read and compare: keys in order, a line for each that holds more than
-- numbers, numbers with six digits.
local cjson = require "cjson"

local INDENT = "  "

local function scalar(value)
  if type(value) ~= "number" then return cjson.encode(value) end
  return value % 1 == 0 and ("%d"):format(value) or ("%.6g"):format(value)
end

local encode

local function encode_list(list, indent)
  local parts, nested = {}, false
  for i, value in ipairs(list) do
    nested = nested or type(value) == "table"
    parts[i] = encode(value, indent .. INDENT)
  end
  if not nested then return "[" .. table.concat(parts, ", ") .. "]" end
  local separator = "\n" .. indent .. INDENT
  return "[" .. separator .. table.concat(parts, "," .. separator) .. "\n" .. indent .. "]"
end

local function encode_map(map, indent)
  local keys, lines = {}, {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do
    lines[i] = indent .. INDENT .. cjson.encode(key) .. ": " .. encode(map[key], indent .. INDENT)
  end
  return #lines > 0 and "{\n" .. table.concat(lines, ",\n") .. "\n" .. indent .. "}" or "{}"
end

function encode(value, indent)
  if type(value) ~= "table" then return scalar(value) end
  return (#value > 0 and encode_list or encode_map)(value, indent)
end

return {
  ---@param value any of strings, finite numbers, booleans and tables, each a list or with keys of text
  ---@return string
  encode = function(value) return encode(value, "") .. "\n" end,
}
