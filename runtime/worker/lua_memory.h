/* The memory module of handlers: memory.check, usage, peak, is_over_threshold, is_critical.
 *
 * What it tells of is the state's own heap and its quota, in which the handler lives; its status is the worse
 * of that and of what the host's monitor says of the whole program (common/board.h). */
#ifndef WORKER_LUA_MEMORY_H
#define WORKER_LUA_MEMORY_H

#include "worker/state.h"

#include <lua.h>

/* -> table of the functions. May raise. */
void lua_memory_push(struct state *state, lua_State *lua);

#endif
