-- Reads the size of a PNG or JPEG from its bytes, and publishes a record of it. With decode = "raw" the first
-- argument is the body as it came: a Lua string holds any bytes.
local PNG = "\137PNG\r\n\26\n"
local JPEG = "\255\216\255"

-- The markers of a JPEG's frame header: C0 to CF, but for three that are something else.
local FRAMES = {}
for marker = 0xC0, 0xCF do FRAMES[marker] = true end
for _, marker in ipairs { 0xC4, 0xC8, 0xCC } do FRAMES[marker] = nil end

-- The big-endian number in the bytes first to last, or nil where the image is shorter.
local function number(image, first, last)
  if last > #image then return nil end
  local value = 0
  for i = first, last do value = value * 256 + image:byte(i) end
  return value
end

local function png_size(image)
  return number(image, 17, 20), number(image, 21, 24)
end

-- Goes from segment to segment (FF, marker, length in two bytes, which counts itself) to the frame header.
local function jpeg_size(image)
  local at = 3
  while image:byte(at) == 0xFF do
    local marker, length = image:byte(at + 1), number(image, at + 2, at + 3)
    if not length then return nil end
    if FRAMES[marker] then return number(image, at + 7, at + 8), number(image, at + 5, at + 6) end
    at = at + 2 + length
  end
end

local function measure(image)
  if image:sub(1, #PNG) == PNG then return "png", png_size(image) end
  if image:sub(1, #JPEG) == JPEG then return "jpeg", jpeg_size(image) end
end

return function(image, message)
  local format, width, height = measure(image)
  if not format then return "reject", "neither a PNG nor a JPEG" end
  if not width or not height then return "reject", "the image is cut off or damaged" end
  local record = { image = message.id, format = format, width = width, height = height, bytes = #image }
  message:publish("", "image-sizes", record)
end
