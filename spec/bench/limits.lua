-- What a message's memory quota and deadline cost, and that they cost no system call.
return {
  about = "what counting memory and arming a deadline costs a message",
  run = function(bench)
    local figures = bench.program "limits"
    local counting, together = {}, {}
    for round, counted in ipairs(figures.counted_ns) do
      counting[round] = counted - figures.uncounted_ns[round]
      together[round] = counting[round] + figures.arming_ns[round]
    end
    local calls = figures.calls / figures.messages
    bench.table({ "a message of 250 B JSON through the handler", "CPU ns" }, {
      { "all of it", figures.counted_ns },
      { "without counting memory", figures.uncounted_ns },
      { "counting memory", counting },
      { "arming and ending quota and deadline", figures.arming_ns },
    })
    bench.claim("quota and deadline cost under 300 ns a message", bench.quantile(together, 0.5) < 300,
      together)
    bench.claim(("under one system call for 10 messages, in batches of 64 (%d for %d)"):format(figures.calls,
      figures.messages), calls < 0.1, calls)
    figures.together_ns = together
    return figures
  end,
}
