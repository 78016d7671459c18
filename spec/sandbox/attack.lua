-- What the scripts of the corpus stand on: the message with the id "attack" is for what they try; every other
-- one is a neighbour's, handled as by any honest script, if the world that it finds is whole.
local json = require "cjson"
local log = require "log"

local function assert_whole()
  assert(("%d-%s"):format(7, "x") == "7-x" and ("a,b"):gsub(",", ";") == "a;b" and #("x"):rep(3) == 3)
  assert(math.max(1, 2) == 2 and math.floor(1.5) == 1 and bit.band(6, 3) == 2)
  local list = { 3, 1 }
  table.insert(list, 2)
  table.sort(list)
  assert(table.concat(list, ",") == "1,2,3" and select("#", unpack(list)) == 3)
  assert(json.encode { json.decode "[1]" } == "[[1]]")
  assert(coroutine.wrap(function() return coroutine.yield(1) end)() == 1)
  assert(not pcall(error, "x") and tostring(1) == "1" and tonumber "2" == 2 and type(os.time()) == "number")
end

---@param try function what to do with the message, as a handler
---@return function handler
return function(try)
  return function(data, message)
    if message.id == "attack" then
      return try(data, message)
    end
    assert_whole()
    assert(data.id == tonumber(message.id))
    log.info("handled", { id = data.id, attempt = message.attempt, redelivered = message.redelivered })
  end
end
