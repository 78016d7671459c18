-- What the parts of a message's way through a worker cost: the Lua state, the way to the worker and back, and
-- JSON. What limits, recycling and the cache cost is in sections of their own.
local function less(figures, base)
  local differences = {}
  for round, figure in ipairs(figures) do differences[round] = figure - base[round] end
  return differences
end

local function micro(figures_ns)
  local figures = {}
  for round, figure in ipairs(figures_ns) do figures[round] = figure / 1000 end
  return figures
end

return {
  about = "what a Lua state, the way to a worker and back, and JSON cost",
  run = function(bench)
    local told = bench.program "parts"
    local figures = {
      first_state_us = micro(told.first_ns), next_state_us = micro(told.next_ns),
      lone_us = micro(told.lone_ns), batch_us = micro(told.batch_ns), text_us = micro(told.raw_250_ns),
      json_250_us = micro(less(told.json_250_ns, told.raw_250_ns)),
      json_4096_us = micro(less(told.json_4096_ns, told.raw_4096_ns)),
    }
    bench.table({ "the worker", "CPU µs" }, {
      { "the first Lua state: opened, a short script loaded, closed", figures.first_state_us },
      { "the states after it", figures.next_state_us },
      { "a message of 250 B as text through a handler that does nothing", figures.text_us },
      { "250 B of JSON decoded", figures.json_250_us },
      { "4 KiB of JSON decoded", figures.json_4096_us },
    })
    bench.table({ "from the host to the worker, through that handler, and back", "µs until it is there" }, {
      { "a message alone", figures.lone_us },
      { "a message, in a batch of 64", figures.batch_us },
    })
    return figures
  end,
}
