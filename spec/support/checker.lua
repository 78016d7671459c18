-- Reads a journal of messages, and says what became of them. It knows nothing of who moved them: whoever
-- publishes writes down what, whoever looks where they should arrive writes down what is there. Lines:
--
--     published ID PLACE STREAM     it belongs there, in turn with others of its stream; "-" is none
--     handled ID PLACE in-place     it arrived there
--     handled ID PLACE put-back     the same, but not in its turn: it had to be tried again
--     again                         all that was handled follows once more, from the beginning
--     left ID                       it is still where it was published to, and nobody works on it
--
-- Ids of a stream rise as they are published. Of the verdict:
--
--     lost          published, and neither handled nor left
--     stuck         left, and not handled
--     misplaced     handled where it does not belong, or never published
--     out of order  handled for the first time, in place, after a later one of its stream
--     twice         how many copies there are beyond the first of each message
--
-- As a program, luajit spec/support/checker.lua JOURNAL, it prints the verdict, and ends with 1 where it is
-- bad.
local checker = {}

local SHOWN = 20 -- ids of a kind in a sentence

local Checker = {}
Checker.__index = Checker

local function forget_handled(self)
  self.times, self.arrived, self.copies = {}, 0, 0
  self.latest, self.disordered, self.misplaced = {}, {}, {}
end

---@return table checker which takes a journal line by line
function checker.new()
  local self = setmetatable({ place = {}, stream = {}, left = {}, published = 0, last = 0 }, Checker)
  forget_handled(self)
  return self
end

local takes = {}

function takes.published(self, id, place, stream)
  assert(not self.place[id], ("message %d is published twice"):format(id))
  self.place[id], self.stream[id] = place, stream
  self.published, self.last = self.published + 1, math.max(self.last, id)
end

local function check_turn(self, id, turn)
  local stream = self.stream[id]
  if stream == "-" then return end
  local latest = self.latest[stream] or 0
  if turn == "in-place" and id < latest then self.disordered[#self.disordered + 1] = id end
  self.latest[stream] = math.max(latest, id)
end

function takes.handled(self, id, place, turn)
  if self.place[id] ~= place then
    self.misplaced[#self.misplaced + 1] = id
    return
  end
  self.copies = self.copies + 1
  self.times[id] = (self.times[id] or 0) + 1
  if self.times[id] == 1 then
    self.arrived = self.arrived + 1
    check_turn(self, id, turn)
  end
end

function takes.left(self, id) self.left[id] = true end
function takes.again(self) forget_handled(self) end

---@param line string
function Checker:take(line)
  local kind, id, place, more = line:match "^(%l+) ?(%d*) ?(%S*) ?(%S*)$"
  if not takes[kind] then error(("this is no line of a journal: %q"):format(line)) end
  takes[kind](self, tonumber(id), place, more)
end

---@return integer published messages that have not arrived yet
function Checker:missing()
  return self.published - self.arrived
end

---@return integer copies beyond the first of each message
function Checker:twice()
  return self.copies - self.arrived
end

---@return { published: integer, twice: integer, lost: integer[], stuck: integer[], misplaced: integer[],
---  disordered: integer[] }
function Checker:verdict()
  local lost, stuck = {}, {}
  for id = 1, self.last do
    if self.place[id] and not self.times[id] then
      local list = self.left[id] and stuck or lost
      list[#list + 1] = id
    end
  end
  return { published = self.published, twice = self:twice(), lost = lost, stuck = stuck,
    misplaced = self.misplaced, disordered = self.disordered }
end

local function tell(ids)
  if #ids == 0 then return "0" end
  local shown = table.concat(ids, ", ", 1, math.min(#ids, SHOWN))
  return ("%d (%s%s)"):format(#ids, shown, #ids > SHOWN and ", …" or "")
end

---@param verdict table of Checker:verdict
---@return string sentence, boolean good: nothing is lost, stuck, misplaced or out of order
function checker.describe(verdict)
  local bad = #verdict.lost + #verdict.stuck + #verdict.misplaced + #verdict.disordered
  return ("%d messages: lost %s, stuck %s, misplaced %s, out of order %s, twice %d"):format(
    verdict.published, tell(verdict.lost), tell(verdict.stuck), tell(verdict.misplaced),
    tell(verdict.disordered), verdict.twice), bad == 0
end

---@param path string of a journal
---@return table verdict
function checker.read(path)
  local self = checker.new()
  for line in io.lines(path) do self:take(line) end
  return self:verdict()
end

if arg and arg[0] and arg[0]:find "checker%.lua$" then
  local sentence, good = checker.describe(checker.read(assert(arg[1], "which journal?")))
  print(sentence)
  os.exit(good and 0 or 1)
end

return checker
