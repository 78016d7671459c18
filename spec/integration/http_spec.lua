-- Handlers that ask by HTTP: many at once in one worker, only whom http.allow names, and whatever a server
-- does, an answer or an error within the timeout.
local consumer = require "support.consumer"
local process = require "support.process"
local rabbit = require "support.rabbit"
local root = require "support.root"
local workspace = require "support.workspace"

local TLS = (os.getenv "MR_BROKER_CA" or ""):gsub("/[^/]*$", "")

-- Asks for the URL of its message's number, and tells what came of it.
local ASK = [[
  local http = require "http"
  local urls = { %s }
  return function(order)
    local response, problem = http.get(urls[order.id], { timeout = %q })
    log.info("answer", { id = order.id, status = response and response.status, problem = problem,
      size = response and #response.body })
  end]]

describe("http", function()
  after_each(require "support.cleanup")

  -- A server of its own, and what its URLs begin with.
  local function serve()
    local server = process.start({ "luajit", root .. "/spec/support/http_server.lua" })
    assert(server:wait_until(function() return server.out:text():find "\n" end))
    local port = server.out:text():match "%d+"
    return "http://127.0.0.1:" .. port, "127.0.0.1:" .. port
  end

  local function quoted(urls)
    local list = {}
    for i, url in ipairs(urls) do list[i] = ("%q"):format(url) end
    return table.concat(list, ", ")
  end

  -- Id -> the line that tells of the answer.
  local function answers_to(urls, flags, timeout)
    local queue = rabbit.queue "http"
    consumer.fill(queue, #urls)
    flags["max-messages"] = #urls
    local program = consumer.start(queue, ASK:format(quoted(urls), timeout or "60s"), flags)
    assert.equal(#urls, consumer.finish(program).acked)
    local answers = {}
    for _, line in ipairs(consumer.told(program, "answer")) do answers[line.id] = line end
    return answers
  end

  for _, concurrency in ipairs { 1, 20 } do
    it(("tells what is wrong with an answer, %d at once"):format(concurrency), function()
      local base, host = serve()
      local cases = {
        { "/status/404", status = 404 },
        { "/size/1048576", status = 200, size = 1048576 },
        { "/to/" .. base .. "/status/201", status = 201 },
        { "/size/1073741824", "the answer is larger than max_response %(1MiB%)" },
        { "/reset", "transfer closed with 96 bytes remaining" },
        { "/loop", "it redirects more often than `redirects` allows, at last to .*/loop" },
        { "/to/http://127.0.0.1:1/", "127.0.0.1:1 is not in http.allow" },
        { "/to/file:///etc/passwd", "no URL that can be asked" },
      }
      local urls = {}
      for i, case in ipairs(cases) do urls[i] = base .. case[1] end
      local answers = answers_to(urls, { concurrency = concurrency, ["http-allow"] = host,
        ["http-breaker-failures"] = 0 })
      for i, case in ipairs(cases) do
        assert.same({ case[1], case.status, case.size or answers[i].size },
          { case[1], answers[i].status, answers[i].size })
        if case[2] then assert.is_truthy(answers[i].problem:find(case[2]), answers[i].problem) end
      end
    end)
  end

  it("ends what a server does not, when the timeout is over", function()
    local base, host = serve()
    local answers = answers_to({ base .. "/hang", base .. "/trickle" },
      { concurrency = 2, ["http-allow"] = host }, "500ms")
    assert.is_truthy(answers[1].problem:find "timed out after", answers[1].problem)
    assert.is_truthy(answers[2].problem:find "timed out after", answers[2].problem)
  end)

  it("has many requests under way in one worker", function()
    local base, host = serve()
    local urls = {}
    for i = 1, 40 do urls[i] = base .. "/delay/1000" end
    urls[41] = base .. "/most"
    local queue = rabbit.queue "http"
    consumer.fill(queue, 41)
    local program = consumer.start(queue, ([[
      local http = require "http"
      return function(order)
        if order.id <= 40 then return assert(http.get(%q)) and true end
        sleep("3s")
        log.info("most", { most = assert(http.get(%q)).json() })
      end]]):format(urls[1], urls[41]), { concurrency = 41, ["http-allow"] = host, ["max-messages"] = 41 })
    assert.equal(41, consumer.finish(program).acked)
    assert.is_true(consumer.told(program, "most")[1].most >= 20)
  end)

  it("sends method, headers, body and JSON, and reads headers and JSON", function()
    local base, host = serve()
    local queue = rabbit.queue "http"
    consumer.fill(queue, 1)
    local program = consumer.start(queue, ([[
      local http = require "http"
      return function(order)
        local base = %q
        local options = { json = { id = order.id }, headers = { ["X-A"] = "b" } }
        local r = assert(http.post(base .. "/echo", options))
        local echo = r.json()
        assert(echo.method == "POST" and echo.body == '{"id":1}' and echo.headers["x-a"] == "b")
        assert(echo.headers["content-type"] == "application/json" and r.headers["x-twice"] == "a, b")
        options = { json = {}, headers = { ["content-TYPE"] = "x/y" } }
        assert(assert(http.post(base .. "/echo", options)).json().headers["content-type"] == "x/y")
        echo = assert(http.post(base .. "/echo")).json()
        assert(echo.headers["content-length"] == "0" and not echo.headers["content-type"])
        options = { headers = { Authorization = "secret", Cookie = "c", ["X-Api-Key"] = "k", Accept = "a/b",
          Host = "first" } }
        echo = assert(http.get(base .. "/to/" .. base .. "/echo", options)).json()
        assert(echo.headers.authorization == "secret" and echo.headers["x-api-key"] == "k")
        assert(echo.headers.host == "first")
        local elsewhere = base:gsub("127.0.0.1", "localhost")
        echo = assert(http.get(base .. "/to/" .. elsewhere .. "/echo", options)).json()
        assert(not echo.headers.authorization and not echo.headers.cookie and not echo.headers["x-api-key"])
        assert(echo.headers.accept == "a/b" and echo.headers.host == elsewhere:match "//(.*)")
        for method, call in pairs { PUT = http.put, DELETE = http.delete, GET = http.get } do
          assert(assert(call(base .. "/echo")).json().method == method)
        end
        echo = assert(http.request { url = base .. "/echo", method = "patch", body = "x" }).json()
        assert(echo.method == "PATCH" and echo.body == "x")
        assert(assert(http.request { url = base .. "/echo", method = "HEAD" }).body == "")
        for _, wrong in ipairs { {}, { url = 1 }, { url = base, timeout = 0 }, { url = base, method = "G E" },
          { url = base, headers = { a = "b\r\nc: d" } }, { url = base, headers = { ["a b"] = "c" } },
          { url = base, redirects = 21 }, { url = base, json = print }, { url = base, what = 1 } } do
          local ok, why = pcall(http.request, wrong)
          assert(not ok and why:find "http: " or why:find "json", why)
        end
        handled(order, { attempt = 1 })
      end]]):format(base), { ["max-messages"] = 1,
        ["http-allow"] = host .. "," .. host:gsub("127.0.0.1", "localhost") })
    assert.equal(1, consumer.finish(program).acked)
    assert.equal(1, #consumer.told(program))
  end)

  it("leaves a host alone that has failed again and again", function()
    local base, host = serve()
    local urls = {}
    for i = 1, 6 do urls[i] = base .. "/status/503" end
    local answers = answers_to(urls, { ["http-allow"] = host, ["http-breaker-failures"] = 3,
      ["http-breaker-pause"] = "1h" })
    for i = 1, 3 do assert.equal(503, answers[i].status) end
    for i = 4, 6 do
      assert.is_truthy(answers[i].problem:find "has failed 3 times in a row", answers[i].problem)
    end
  end)

  it("trusts only certificates of the authorities", function()
    local server = process.start({ "openssl", "s_server", "-www", "-accept", "0", "-naccept", "4",
      "-cert", TLS .. "/server.pem", "-key", TLS .. "/server.key" })
    assert(server:wait_until(function() return server.out:text():find "ACCEPT" end))
    local port = server.out:text():match "ACCEPT %S+:(%d+)"
    local url, allowed = "https://localhost:" .. port .. "/", "localhost:" .. port
    local refused = answers_to({ url }, { ["http-allow"] = allowed })
    assert.is_truthy(refused[1].problem:find "certificate", refused[1].problem)
    local taken = answers_to({ url }, { ["http-allow"] = allowed, ["http-ca"] = os.getenv "MR_BROKER_CA" })
    assert.equal(200, taken[1].status)
  end)

  it("is not there without http.allow, and says which key it needs", function()
    local space = workspace.new()
    local path = consumer.write_handler(space, 'local http = require "http" return function() end')
    local result = require "support.moonrabbit".run("check", path, "--queue=q")
    assert.equal(2, result.code)
    assert.is_truthy(result.err:find("http.allow", 1, true), result.err)
  end)
end)
