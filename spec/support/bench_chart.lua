-- What README shows of `make bench`'s section `peers`: a report, as bench writes it for machines, becomes a
-- chart, and a table of what the chart leaves out. The chart is an SVG that stands on its own. It is read on
-- light and on dark pages, so it brings its own background, and colours for both. A bar is the median; the
-- line over it goes from least to most.
local bench = require "support.bench"

local SIZE = "250 B JSON"
local SIZES = { SIZE, "4 KiB JSON", "64 KiB binary" } -- of the table

local ROWS = { -- as they are in the report, and what the chart calls them
  { "moonrabbit", "moonrabbit, 1 worker", ours = true },
  { "moonrabbit, 2 workers", "moonrabbit, 2 workers", ours = true },
  { "C + LuaJIT + cjson", "C + LuaJIT, no sandbox" },
  { "C", "C, acks and nothing else" },
  { "amqplib for Node", "amqplib (Node)" },
  { "pika", "pika (Python)" },
  { "php-amqplib", "php-amqplib" },
}

local PANELS = {
  { figure = "cpu_us", title = "processor µs a message", note = "less is better" },
  { figure = "rate", title = "messages a second", note = "more is better" },
  { figure = "peak_mib", title = "peak memory, MiB", note = "less is better" },
}

-- Pixels.
local MARGIN, NAMES, PANEL, GAP = 20, 182, 204, 22
local TITLE, HEAD, ROW, BAR, FOOT = 58, 44, 30, 16, 58
local LABEL = 62 -- beside the longest bar or line, for its figure
local WIDTH = 2 * MARGIN + NAMES + #PANELS * PANEL + (#PANELS - 1) * GAP

local STYLE = [[
  .page { fill: #ffffff; stroke: #d1d9e0; }
  text { fill: #1f2328; font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
  .title { font-size: 16px; font-weight: 600; }
  .head { font-weight: 600; }
  .note { fill: #59636e; font-size: 12px; }
  .ours { fill: #0969da; }
  .other { fill: #a9b3bd; }
  .range { stroke: #1f2328; stroke-width: 1.5; }
  .axis { stroke: #d1d9e0; }
  .strong { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .note { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .other { fill: #656c76; }
    .range { stroke: #f0f6fc; }
    .axis { stroke: #3d444d; }
  }
]]

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local function text_at(x, y, class, words)
  return ('  <text x="%.0f" y="%.0f" class="%s">%s</text>'):format(x, y, class, escape(words))
end

local function line_at(class, x1, y1, x2, y2)
  return ('  <line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>'):format(x1, y1, x2, y2, class)
end

-- The rows that the report has.
local function rows_of(results)
  local rows = {}
  for _, row in ipairs(ROWS) do
    if results[row[1]] then
      rows[#rows + 1] = { name = row[2], ours = row.ours, figures = results[row[1]] }
    end
  end
  return rows
end

local function figure_text(figure)
  if figure >= 1000 then return bench.text(figure) end
  return (figure >= 100 and "%.0f" or "%.1f"):format(figure)
end

local function top_of(row)
  return TITLE + HEAD + (row - 1) * ROW
end

local function draw_bar(lines, left, top, scale, row, figures)
  local all = bench.summary(figures)
  local class, strength = row.ours and "ours" or "other", row.ours and "strong" or ""
  local least, most, middle = left + all.least * scale, left + all.most * scale, top + BAR / 2
  lines[#lines + 1] = ('  <rect x="%.0f" y="%.0f" width="%.1f" height="%d" rx="2" class="%s"/>'):format(left,
    top, math.max(all.median * scale, 1), BAR, class)
  lines[#lines + 1] = line_at("range", least, middle, most, middle)
  lines[#lines + 1] = text_at(most + 6, top + BAR - 3, strength, figure_text(all.median))
end

local function draw_panel(lines, rows, panel, left)
  local most = 0
  for _, row in ipairs(rows) do most = math.max(most, unpack(row.figures[panel.figure])) end
  lines[#lines + 1] = text_at(left, TITLE + 14, "head", panel.title)
  lines[#lines + 1] = text_at(left, TITLE + 31, "note", panel.note)
  lines[#lines + 1] = line_at("axis", left - 0.5, top_of(1) - 4, left - 0.5, top_of(#rows + 1))
  for i, row in ipairs(rows) do
    local top, scale = top_of(i) + (ROW - BAR) / 2, (PANEL - LABEL) / most
    draw_bar(lines, left, top, scale, row, row.figures[panel.figure])
  end
end

local function draw_words(lines, report, rows, height)
  local rounds, machine = #rows[1].figures.rate, report.machine
  lines[#lines + 1] = text_at(MARGIN, 36, "title",
    "One message of 250 B of JSON: taken, decoded, handled and acked")
  for i, row in ipairs(rows) do
    lines[#lines + 1] = text_at(MARGIN, top_of(i) + ROW / 2 + 5, row.ours and "strong" or "", row.name)
  end
  lines[#lines + 1] = text_at(MARGIN, height - 34, "note", ("Medians of %d rounds, lines from least to most; "
    .. "prefetch 256; all processes of a consumer; the broker on the same machine."):format(rounds))
  lines[#lines + 1] = text_at(MARGIN, height - 16, "note",
    ("%s, %d cores, Linux %s, %s; by make bench."):format(machine.processor, machine.cores, machine.kernel,
      report.date:sub(1, 10)))
end

local function sizes_of(report)
  return type(report) == "table" and report.sections and report.sections.peers and
    report.sections.peers.sizes or {}
end

local chart = {}

---@param report table as `bench --json` writes it, with the section `peers`
---@return string|nil svg, string|nil problem
function chart.draw(report)
  local results = sizes_of(report)[SIZE]
  local rows = results and rows_of(results) or {}
  if #rows == 0 then return nil, "it has no figures of the section 'peers'" end
  local height = TITLE + HEAD + #rows * ROW + FOOT
  local lines = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">'):format(
      WIDTH, height, WIDTH, height),
    "  <title>What a message costs: moonrabbit beside other consumers</title>",
    "  <style>\n" .. STYLE .. "  </style>",
    ('  <rect x="0.5" y="0.5" width="%d" height="%d" rx="8" class="page"/>'):format(WIDTH - 1, height - 1),
  }
  draw_words(lines, report, rows, height)
  for i, panel in ipairs(PANELS) do
    draw_panel(lines, rows, panel, MARGIN + NAMES + (i - 1) * (PANEL + GAP))
  end
  lines[#lines + 1] = "</svg>\n"
  return table.concat(lines, "\n")
end

-- A consumer may lack in one size.
local function row_named(rows, name)
  for _, row in ipairs(rows) do
    if row.name == name then return row end
  end
end

---Processor time of a message in each size: medians, in Markdown.
---@param report table that chart.draw takes
---@return string
function chart.table(report)
  local sizes = sizes_of(report)
  local lines = { "| processor µs a message | " .. table.concat(SIZES, " | ") .. " |",
    "| --- | --: | --: | --: |" }
  for _, row in ipairs(rows_of(sizes[SIZE])) do
    local cells = { row.name }
    for _, size in ipairs(SIZES) do
      local same = sizes[size] and row_named(rows_of(sizes[size]), row.name)
      cells[#cells + 1] = same and figure_text(bench.quantile(same.figures.cpu_us, 0.5)) or ""
    end
    lines[#lines + 1] = "| " .. table.concat(cells, " | ") .. " |"
  end
  return table.concat(lines, "\n") .. "\n"
end

return chart
