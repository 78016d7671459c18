/* The module `http`: requests of scripts, checked, and their answers as Lua values. */
#ifndef WORKER_LUA_HTTP_H
#define WORKER_LUA_HTTP_H

#include "worker/state.h"

#include <lua.h>

/* Puts the function `http` into the table on top of the stack that scripts/sandbox.lua calls `host`, where
 * http is allowed. May raise. */
void lua_http_push_functions(struct state *state, lua_State *lua);

#endif
