-- How the doctor tells what it found: a table for people, wrapped to their terminal, or one JSON object.
local cjson = require "cjson"
local words = require "moonrabbit.words"

local WIDTH_DEFAULT, WIDTH_MIN, WIDTH_MAX = 100, 60, 120
local OF_A_RULE_MAX = 20 -- findings that people are shown; JSON has all

local report = {}

-- Columns: a character each.
local function width_of(text)
  local _, rest = text:gsub("[\128-\191]", "")
  return #text - rest
end

-- Text in lines of at most so many columns, broken at blanks; a word that is longer has its own.
local function wrap(text, columns)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and width_of(line) + 1 + width_of(word) > columns then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return lines
end

-- Lines of `text` behind a label, the label on the first one only.
local function paragraph(add, margin, label, text, columns)
  local indent = (" "):rep(width_of(label))
  for i, line in ipairs(wrap(text, math.max(columns - #margin - #indent, 20))) do
    add(margin .. (i == 1 and label or indent) .. line)
  end
end

local HEADINGS = { "SEVERITY", "LAYER", "FINDING" }
local ROW = "%-9s %-12s "
local MARGIN = ROW:format("", "")

local function add_finding(add, finding, columns)
  local said = finding.object .. ": " .. finding.what
  paragraph(add, "", ROW:format(finding.severity, finding.layer), said, columns)
  paragraph(add, MARGIN, "why  ", finding.why, columns)
  paragraph(add, MARGIN, "do   ", finding.advice, columns)
  if finding.line then add(MARGIN .. "       " .. finding.line) end
end

local function add_findings(add, findings, columns)
  local shown, left = {}, {}
  add(ROW:format(HEADINGS[1], HEADINGS[2]) .. HEADINGS[3])
  for _, finding in ipairs(findings) do
    shown[finding.rule] = (shown[finding.rule] or 0) + 1
    if shown[finding.rule] > OF_A_RULE_MAX then
      if not left[finding.rule] then left[#left + 1] = finding.rule end
      left[finding.rule] = (left[finding.rule] or 0) + 1
    else
      add_finding(add, finding, columns)
      add ""
    end
  end
  for _, rule in ipairs(left) do
    add(("and %s more of %s; --json has all"):format(words.with_commas(left[rule]), rule))
  end
end

local function summary(result)
  local parts = {}
  for _, severity in ipairs { "critical", "warning", "info" } do
    local count = result.counts[severity]
    if count > 0 then parts[#parts + 1] = ("%s %s"):format(words.with_commas(count), severity) end
  end
  if #parts > 0 then return "found: " .. table.concat(parts, ", ") end
  return "found: nothing that would leak" .. (#result.unseen > 0 and ", in what was looked at" or "")
end

---@param result { findings: table[], counts: table, seen: string[], unseen: table[] }
---@param columns integer|nil of the terminal
---@return string
function report.as_text(result, columns)
  local lines = {}
  local function add(line) lines[#lines + 1] = (line:gsub(" +$", "")) end
  columns = math.min(math.max(columns or WIDTH_DEFAULT, WIDTH_MIN), WIDTH_MAX)
  if #result.findings > 0 then add_findings(add, result.findings, columns) end
  paragraph(add, "", "looked at      ", table.concat(result.seen, "; "), columns)
  for i, unseen in ipairs(result.unseen) do
    local label = i == 1 and "not looked at  " or (" "):rep(15)
    paragraph(add, "", label, unseen.what .. ": " .. unseen.why, columns)
  end
  add(summary(result))
  return table.concat(lines, "\n") .. "\n"
end

-- cjson cannot tell an empty list from an empty object.
local function json_list(list)
  return #list == 0 and "[]" or cjson.encode(list)
end

---@return string one object on one line; sizes are in bytes, times in seconds
function report.as_json(result)
  return ('{"findings":%s,"counts":%s,"looked_at":%s,"not_looked_at":%s}\n'):format(
    json_list(result.findings), cjson.encode(result.counts), json_list(result.seen), json_list(result.unseen))
end

return report
