-- Numbers as reports have them: 1,200 messages.
local words = {}

---@param number number
---@return string of its whole part
function words.with_commas(number)
  local text = ("%d"):format(number):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

---@param number number
---@param one string what there is one of
---@param many? string of more, where that is not `one` and an s
---@return string
function words.counted(number, one, many)
  return ("%s %s"):format(words.with_commas(number), number == 1 and one or many or one .. "s")
end

return words
