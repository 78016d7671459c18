std = "luajit"
max_line_length = 110
cache = false

files["spec"] = { std = "luajit+busted" }

-- What a handler sees, and nothing else.
stds.moonrabbit = dofile "scripts/types/luacheck.lua"
files["examples"] = { std = "moonrabbit" }
files["examples/**/*_spec.lua"] = { std = "luajit+busted" }

-- What a configuration file sees, and nothing else.
files["examples/**/moonrabbit.lua"] = { std = "luajit", read_globals = { "env" } }

-- What leaks is kept, and not looked at.
files["spec/leaks"] = { std = "moonrabbit", ignore = { "241" } }
files["spec/clean"] = { std = "moonrabbit", ignore = { "241" } }
files["spec/leaks/global_table.lua"] = { globals = { "registry" } }

-- Hostile scripts set what may not be set, and collect what nobody looks at.
files["spec/sandbox/*/*.lua"] = { ignore = { "1..", "221", "241" } }
