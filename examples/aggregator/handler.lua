-- Counts page views per minute. All workers count in the same cache, where incr is one step whoever else is
-- at the key; a minute's counter is forgotten an hour later, so there are never more than some sixty. Whoever
-- counts a minute's first view tells how many the minute before had.
--
-- A view whose worker dies is delivered, and perhaps counted, again: right for statistics, not for money.
local cache = require "cache"
local log = require "log"

return function(_, message)
  local minute = math.floor((message.timestamp or os.time()) / 60)
  local views = cache.incr("views " .. minute, 1, 0, "1h")
  if views == 1 then
    local before = cache.get("views " .. minute - 1) or 0
    log.info("minute", { ends = os.date("!%H:%M", minute * 60), views = before })
  end
end
