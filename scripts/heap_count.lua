-- How many entries a large table has, for the walk through the heap (worker/heap_walk.c). In such a loop
-- LuaJIT's interpreter goes through a table by position; lua_next looks up each key to find the next one,
-- which takes ten times as long. Returns the function that counts.
local next, type = next, type

local LAST = 2 ^ 28 -- LuaJIT's arrays end before

---@param entries table
---@param numbers boolean whether those with a whole number as the key are told apart
---@return integer count, integer in_array of them, integer array_end: the largest of these numbers
return function(entries, numbers)
  local count, in_array, array_end = 0, 0, 0
  if not numbers then
    for _ in next, entries do count = count + 1 end
    return count, 0, 0
  end
  for key in next, entries do
    count = count + 1
    if type(key) == "number" and key >= 1 and key <= LAST and key % 1 == 0 then
      in_array = in_array + 1
      if key > array_end then array_end = key end
    end
  end
  return count, in_array, array_end
end
