-- Leaks: what setup has made, in a script that returns a table.
-- Expect: table: upvalue 'connections' of setup_state.lua:9
local connections

local function setup()
  connections = {}
end

local function handle(order)
  connections["10.0.0." .. order.id] = { open = true, id = order.id }
end

return { handle = handle, setup = setup }
