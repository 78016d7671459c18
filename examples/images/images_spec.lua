-- Sizes of images, and of what only looks like one:  moonrabbit test examples/images
local mr = require "moonrabbit.test"
local cjson = require "cjson"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""

-- A PNG of one pixel, whole; and a JPEG as far as its frame header, of 640 by 480: what begins it, JFIF's
-- segment, one with a Huffman table, whose marker looks like a frame's, and the frame's own.
local PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
local JPEG = "\255\216\255\224\0\16JFIF\0\1\1\0\0\1\0\1\0\0\255\196\0\8\0\1\2\3\4\5" ..
  "\255\192\0\17\8\1\224\2\128\3\1\34\0\2\17\1\3\17\1"

describe("images", function()
  local worker

  setup(function() worker = mr.worker(here .. "handler.lua", { config = here .. "moonrabbit.lua" }) end)
  teardown(function() worker:close() end)

  local function measured(message)
    local r = worker:deliver(message)
    assert.equal("ack", r.verdict)
    assert.equal("image-sizes", r.published[1].routing_key)
    return cjson.decode(r.published[1].body)
  end

  local function assert_rejected(reason, body)
    local r = worker:deliver { body = body }
    assert.same({ "reject", reason }, { r.verdict, r.reason })
    assert.same({}, r.published)
  end

  it("are measured by their bytes, whatever these are", function()
    assert.same({ image = "dot.png", format = "png", width = 1, height = 1, bytes = 70 },
      measured { body_base64 = PNG, content_type = "image/png", id = "dot.png" })
    assert.same({ format = "jpeg", width = 640, height = 480, bytes = #JPEG }, measured { body = JPEG })
  end)

  it("are rejected where they are none", function()
    assert_rejected("neither a PNG nor a JPEG", "GIF89a\0\1")
    assert_rejected("neither a PNG nor a JPEG", "")
  end)

  it("are rejected where they are cut off, wherever that is", function()
    for length = 3, #JPEG - 11 do assert_rejected("the image is cut off or damaged", JPEG:sub(1, length)) end
    assert_rejected("the image is cut off or damaged", "\137PNG\r\n\26\n\0\0\0\13IHDR\0\0")
  end)

  it("of megabytes are measured in the memory that there is, larger ones never reach the handler", function()
    assert.equal(640, measured({ body = JPEG .. ("\0"):rep(9 * 2 ^ 20) }).width)
    local r = worker:deliver { body = JPEG .. ("\0"):rep(10 * 2 ^ 20) }
    assert.same({ "error", "size", "reject" }, { r.verdict, r.cause, r.settlement })
    assert.equal(1, worker:counts().processes)
  end)
end)
