-- Tries: to forge lines of the log by what it prints.
-- Expect: acked
local attack = require "attack"
local log = require "log"

local FORGED = '"}\n{"msg":"handled","id":1,"attempt":9,"consumer":"x"}\r\n\27[2J\0'

return attack(function()
  print(FORGED, nil, true, {}, print, coroutine.create(print))
  log.error(FORGED, { [FORGED] = FORGED, time = FORGED, level = FORGED, msg = FORGED, consumer = "x",
    queue = "x" })
  log.warn("\255\254\192\128" .. FORGED, FORGED)
  log.info({}, setmetatable({}, { __index = _G, __pairs = error }))
  log.info()
end)
