-- A page in headless Chromium, for specs of what people see: opened, asked by scripts, and heard when it
-- complains. Spoken to over WebDriver, which is HTTP and JSON, through chromium-driver. The browser resolves
-- no name and has a folder of its own. cleanup ends it, before the one of all others, which only kills.
local cjson = require "cjson.safe"
local http = require "support.http"
local linux = require "support.linux"
local process = require "support.process"
local workspace = require "support.workspace"

local PATIENCE = 120 -- seconds; only a hang takes so long
local POLL_SECONDS = 0.1

local ARGUMENTS = {
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
  "--no-first-run",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
}

local browser = {}
local pages = {} -- to be closed

-- WebDriver

-- chromedriver never ends a connection, so that an answer ends where its head says.
local function read_answer(connection)
  local chunks, bytes, whole = {}, 0, math.huge
  while bytes < whole do
    local chunk, reason = connection:some(PATIENCE * 1000)
    if not chunk or chunk == "" then
      return nil, reason or "the answer ends too early"
    end
    chunks[#chunks + 1], bytes = chunk, bytes + #chunk
    local text = whole == math.huge and table.concat(chunks)
    local length, body = (text or ""):match "\r\nContent%-Length: *(%d+).-\r\n\r\n()"
    whole = length and body - 1 + length or whole
  end
  return table.concat(chunks):match "^HTTP/1%.1 (%d+) .-\r\n\r\n(.*)$"
end

local REQUEST = table.concat({ "%s %s HTTP/1.1", "Host: %s", "Content-Type: application/json",
  "Content-Length: %d", "", "%s" }, "\r\n")

local function request(driver, method, path, body)
  local text = body and cjson.encode(body) or ""
  local connection = assert(http.connect(driver.address))
  connection:send(REQUEST:format(method, path, driver.address, #text, text))
  local code, answer = read_answer(connection)
  connection:close()
  local value = code and (cjson.decode(answer) or {}).value
  if code ~= "200" then
    local told = type(value) == "table" and value.message or code or answer
    error(("%s %s: %s"):format(method, path, told), 0)
  end
  return value
end

-- JSON's null is nil here.
local function plain(value)
  return value ~= cjson.null and value or nil
end

local function start_driver()
  local driver = process.start({ "chromedriver", "--port=0" }, { env = { HOME = workspace.new().path } })
  local port, reason = driver:wait_until(function()
    return driver:stdout():match "started successfully on port (%d+)"
  end, PATIENCE)
  if not port then
    error(("%s: chromedriver does not start: %s%s"):format(reason, driver:stdout(), driver:stderr()), 0)
  end
  driver.address = "127.0.0.1:" .. port
  return driver
end

local function capabilities()
  local arguments = { "--user-data-dir=" .. workspace.new().path, unpack(ARGUMENTS) }
  return { capabilities = { alwaysMatch = {
    browserName = "chrome",
    ["goog:chromeOptions"] = { args = arguments },
    ["goog:loggingPrefs"] = { browser = "ALL", performance = "ALL" },
  } } }
end

-- A page

local Page = {}
Page.__index = Page

function Page:ask(method, path, body)
  return request(self.driver, method, self.session .. path, body)
end

local function devtools(page, command, parameters)
  return page:ask("POST", "/goog/cdp/execute", { cmd = command, params = parameters })
end

---Opens a page in a browser of its own.
---@param url string
---@return table page
function browser.open(url)
  local driver = start_driver()
  local page = setmetatable({ driver = driver, url = url, requested = {} }, Page)
  page.session = "/session/" .. request(driver, "POST", "/session", capabilities()).sessionId
  pages[#pages + 1] = page
  page:ask("POST", "/url", { url = url })
  return page
end

---Runs a script, the body of a function.
---@param script string JavaScript
---@param argument? any what it finds as `arguments[0]`
---@return any what it returns; nil for null
function Page:run(script, argument)
  local arguments = { argument == nil and cjson.null or argument }
  return plain(self:ask("POST", "/execute/sync", { script = script, args = arguments }))
end

---Runs a script again and again until what it returns is neither null nor false.
---@param script string JavaScript
---@param argument? any
---@return any
function Page:wait(script, argument)
  local deadline = linux.now() + PATIENCE
  while true do
    local value = self:run(script, argument)
    if value then
      return value
    elseif linux.now() > deadline then
      error(("it never came true: %s\nthe page says:\n%s"):format(script,
        self:run "return document.body.innerText"), 2)
    end
    linux.sleep(POLL_SECONDS)
  end
end

---Makes the page as large as a screen of so many CSS pixels.
function Page:resize(width, height)
  devtools(self, "Emulation.setDeviceMetricsOverride",
    { width = width, height = height, deviceScaleFactor = 1, mobile = false })
end

---@param scheme "light"|"dark" what the reader prefers
function Page:prefer(scheme)
  devtools(self, "Emulation.setEmulatedMedia",
    { features = { { name = "prefers-color-scheme", value = scheme } } })
end

---What the browser's console was told since it was last asked: errors, warnings, blocked resources.
---@return string[]
function Page:complaints()
  local texts = {}
  for _, entry in ipairs(self:ask("POST", "/se/log", { type = "browser" })) do
    texts[#texts + 1] = ("%s: %s"):format(entry.level, entry.message)
  end
  return texts
end

---Every address that the page has asked for since it was opened, of whatever kind. (What the browser asks for
---its own pages, as before the first one, is not the page's.)
---@return table<string, integer> times by URL
function Page:requests()
  for _, entry in ipairs(self:ask("POST", "/se/log", { type = "performance" })) do
    local message = cjson.decode(entry.message).message
    if message.method == "Network.requestWillBeSent" and message.params.documentURL == self.url then
      local url = message.params.request.url
      self.requested[url] = (self.requested[url] or 0) + 1
    end
  end
  return self.requested
end

---Ends every browser that was opened.
function browser.cleanup()
  local all = pages
  pages = {}
  for _, page in ipairs(all) do
    pcall(page.ask, page, "DELETE", "")
    page.driver:kill "TERM"
  end
end

return browser
