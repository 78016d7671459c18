/* Modules beside the script: from a module's name to its compiled chunk. What is loaded once, cycles and the
 * modules that moonrabbit brings are the affair of `require` in scripts/sandbox.lua. */
#ifndef WORKER_REQUIRE_H
#define WORKER_REQUIRE_H

#include <lua.h>

/* load_module(name) -> chunk | nil, what is wrong, whether there is no such file
 * The name a.b is a/b.lua or a/b/init.lua in the script's folder. */
int require_load_module(lua_State *lua);

#endif
