-- Stands for whoever collects the records: it logs them.
local log = require "log"

return function(record)
  log.info("image", record)
end
