-- Ends and removes whatever a spec made by the support modules: `after_each(require "support.cleanup")`. Each
-- part is cleaned even when another fails, and the first failure is the spec's.
local http = require "support.http"
local moonrabbit = require "support.moonrabbit"
local rabbit = require "support.rabbit"
local workspace = require "support.workspace"

return function()
  local failure
  for _, module in ipairs { http, moonrabbit, rabbit, workspace } do
    local cleaned, reason = pcall(module.cleanup)
    failure = failure or not cleaned and reason or nil
  end
  if failure then
    error(failure, 0)
  end
end
