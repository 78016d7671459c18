-- Answers questions: {"from": "C", "to": "F", "degrees": 20} is answered with {"degrees": 68}. The answer
-- goes to the queue in reply_to, with the question's correlation_id. What is wrong with a question is an
-- answer too, so that whoever asked need not wait for nothing.
local CONVERSIONS = {
  ["C to F"] = function(degrees) return degrees * 9 / 5 + 32 end,
  ["F to C"] = function(degrees) return (degrees - 32) * 5 / 9 end,
}

local function answer(question)
  local convert = CONVERSIONS[("%s to %s"):format(question.from, question.to)]
  if not convert then return { error = "from and to are C and F, or F and C" } end
  local degrees = tonumber(question.degrees)
  if not degrees then return { error = "degrees is not a number" } end
  return { degrees = convert(degrees) }
end

return function(question, message)
  if not message.reply_to then return "reject", "question without a reply_to" end
  message:reply(answer(question))
end
