/* The module `cache` of handlers: the shared cache (common/cache.h) as Lua functions.
 *
 * What a value or a ttl makes impossible is nil and a reason; an argument of the wrong type is an error that
 * names it. No function holds a lock of the cache while it calls Lua: bytes are copied out first, into
 * memory that counts to the quota. */
#ifndef WORKER_LUA_CACHE_H
#define WORKER_LUA_CACHE_H

#include "worker/state.h"

#include <lua.h>

/* Pushes a table with the functions that work on this cache or space alone, all but `space`; they copy
 * *cache, and must not be called when it is unmapped. May raise. */
void lua_cache_push_functions(lua_State *lua, const struct cache *cache);

/* Pushes a table with the module's functions. May raise. */
void lua_cache_push(struct state *state, lua_State *lua);

#endif
