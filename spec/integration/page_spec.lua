-- The status page, as a browser shows it while a handler that leaks is under load.
local browser = require "support.browser"
local consumer = require "support.consumer"
local rabbit = require "support.rabbit"
local cleanup = require "support.cleanup"

-- Leaks 4 KiB a message, so that its state is recycled again and again.
local LEAKY = [[
  local seen = {}
  return function(order)
    seen[#seen + 1] = ("x"):rep(4096) .. order.id
  end]]

-- Names are strangers' words: this one would run a script if it ever became HTML.
local HOSTILE = "page <img src=x onerror=alert(1)>"

local HELPERS = [[
  const chart = title => [...document.querySelectorAll('figure')].find(
    figure => figure.querySelector('h3').textContent === title)
  const picture = title => chart(title).querySelector('canvas').toDataURL()
  const points = title => Number(chart(title).querySelector('canvas').dataset.points)
]]

describe("the status page", function()
  after_each(function()
    browser.cleanup()
    cleanup()
  end)

  local function start(flags)
    local queue = rabbit.queue(HOSTILE)
    local all = { ["status-listen"] = "127.0.0.1:0", ["memory-interval"] = "100ms", workers = 2,
      ["limits-memory"] = "8MiB", ["recycle-memory"] = "4MiB" }
    for name, value in pairs(flags or {}) do
      all[name] = value
    end
    local program = consumer.start(queue, LEAKY, all)
    local line = assert(program:wait_log({ msg = "status listens" }, { timeout = consumer.PATIENCE }))
    consumer.wait_consuming(program)
    return ("http://%s/"):format(line.address), queue, program
  end

  it("draws what happens and names what leaks, asks nobody else, and runs nothing else", function()
    local address, queue = start()
    local page = browser.open(address)
    page:wait(HELPERS .. "return document.querySelector('figure') && points('Throughput') > 1")
    local before = page:run(HELPERS .. "return picture('Memory by worker')")
    consumer.fill(queue, 5000)
    page:wait(HELPERS .. [[return picture('Memory by worker') !== arguments[0] &&
      Number(document.querySelector('#rate b span').textContent.replace(',', '')) > 0]], before)
    page:wait "return document.querySelectorAll('.recycles tbody tr').length >= 3"
    page:wait "return document.querySelector('#leaks code')"
    assert.equal("upvalue 'seen' of handler.lua", page:run [[
      return document.querySelector('#leaks code').textContent.split(':')[0] ]])
    page:wait "return [...document.querySelectorAll('#alarms b')].some(name => name.textContent === 'leak')"
    before = page:run(HELPERS .. "return [points('Queue'), picture('Throughput')]")
    page:wait(HELPERS .. [[return points('Queue') > arguments[0][0] &&
      picture('Throughput') !== arguments[0][1] ]], before)

    assert.equal(queue, page:run "return document.querySelector('h2.name').textContent")
    assert.equal(0, page:run "return document.querySelectorAll('img').length")
    local asked = page:requests()
    assert.is_true(asked[address .. "status"] > 1)
    asked[address], asked[address .. "status"] = nil, nil
    for url in pairs(asked) do
      assert.is_truthy(url:match "^data:image/svg", url)
    end
    assert.same({}, page:complaints())

    assert.equal("refused", page:run [[const script = document.createElement('script')
      script.textContent = 'window.foreign = "runs"'
      document.head.append(script)
      return window.foreign || 'refused']])
    assert.is_truthy(page:complaints()[1]:find("Content Security Policy", 1, true))
  end)

  it("shows alarms, and fits a phone and a dark room", function()
    local address, queue = start { ["memory-warning"] = "1MiB", ["memory-critical"] = "100GiB" }
    local page = browser.open(address)
    consumer.fill(queue, 1000)
    page:wait "return document.querySelector('#alarms').textContent.includes('memory is over memory')"
    assert.equal("warning", page:run "return document.querySelector('#memory .pill').textContent")

    local function back_colour()
      return page:run "return getComputedStyle(document.body).backgroundColor"
    end
    local light = back_colour()
    for _, width in ipairs { 360, 1280 } do
      page:resize(width, 740)
      for _, scheme in ipairs { "light", "dark" } do
        page:prefer(scheme)
        page:wait("return innerWidth === arguments[0]", width)
        assert.equal(0, page:run [[const { scrollWidth, clientWidth } = document.documentElement
          return scrollWidth - clientWidth]])
        assert.equal(scheme == "light", back_colour() == light)
      end
    end
    assert.same({}, page:complaints())
  end)

  it("shows a leak as text, whatever it is called", function()
    local page = browser.open((start()))
    page:run([[const ask = window.fetch, path = arguments[0]
      window.fetch = async (...all) => {
        const status = await (await ask(...all)).json()
        status.consumers[0].leaks = [{ path, kind: 'table', entries: 48213, entries_per_message: 1,
          bytes: 5400000, bytes_per_message: 112, sample: 'a, b', worker: 2, time: status.time }]
        return { ok: true, json: () => status }
      }]], HOSTILE)
    page:wait "return document.querySelector('#leaks code')"
    assert.equal(HOSTILE, page:run "return document.querySelector('#leaks code').textContent")
    local said = page:run "return document.querySelector('#leaks li').innerText"
    for _, words in ipairs { "table of 48,213 entries, 5.1 MiB", "a message adds 1 of them, 112 B",
      "worker 2", "keys a, b" } do
      assert.is_truthy(said:find(words, 1, true), said)
    end
    assert.equal("1 suspected", page:run "return document.querySelector('#leaking b').innerText")
    assert.same({}, page:complaints())
  end)

  it("says since when it has lost contact, and goes on when the program is back", function()
    local address, _, program = start()
    local page = browser.open(address)
    page:wait "return document.querySelector('#state').textContent === 'ready'"
    assert(program:kill "KILL")
    page:wait "return /^Lost contact since [0-9:]{8}/.test(document.querySelector('#lost').textContent)"
    assert.equal("lost contact", page:run "return document.querySelector('#state').textContent")
    start { ["status-listen"] = address:match "//(.-)/" }
    page:wait "return document.querySelector('#lost').hidden"
  end)
end)
