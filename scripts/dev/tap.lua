-- A busted output handler that prints TAP, as scripts/dev/test reads it. Busted's own stumbles over a spec
-- file that does not load, and does not show a failed setup; this one counts whatever is not a success as
-- `not ok`, with its place.

local pretty = require "pl.pretty"

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local count = 0

  local function say(line)
    io.stdout:write(line, "\n")
    io.stdout:flush()
  end

  local function comment(text)
    say("# " .. tostring(text):gsub("\n", "\n# "))
  end

  local function report(word, name)
    count = count + 1
    say(("%s %d - %s"):format(word, count, (name:gsub("\n", " "))))
  end

  local function report_failure(t)
    local message, trace = t.message or "no message", t.trace or {}
    report("not ok", t.name)
    if trace.short_src and trace.currentline then
      comment(trace.short_src .. ":" .. trace.currentline)
    end
    comment(type(message) == "string" and message or pretty.write(message))
    if t.isError and trace.traceback then
      comment((trace.traceback:gsub("^%s+", "")))
    end
  end

  local function test_end(_, _, status)
    if status == "success" then
      report("ok", handler.successes[#handler.successes].name)
    elseif status == "pending" then
      local t = handler.pendings[#handler.pendings]
      report("ok", t.name .. " # SKIP " .. (type(t.message) == "string" and t.message or ""))
    elseif status == "failure" then
      report_failure(handler.failures[#handler.failures])
    else
      report_failure(handler.errors[#handler.errors])
    end
    return nil, true
  end

  -- What goes wrong outside a test: in a setup, a teardown, a describe, or while the file is loaded.
  local function outside_tests(element)
    if element.descriptor ~= "it" then
      report_failure(handler.errors[#handler.errors])
    end
    return nil, true
  end

  local function suite_end()
    say("1.." .. count)
    return nil, true
  end

  busted.subscribe({ "test", "end" }, test_end)
  busted.subscribe({ "failure" }, outside_tests)
  busted.subscribe({ "error" }, outside_tests)
  busted.subscribe({ "suite", "end" }, suite_end)
  return handler
end
