/* A message's headers as a Lua table.
 *
 * Strings and binary become strings; every number, decimals and timestamps (seconds since 1970) too, becomes
 * a number, exact up to 2^53; void becomes cjson.null, so that a header that is there can be told from one
 * that is not; tables and arrays become tables. Of a name that comes twice the last counts. */
#ifndef WORKER_LUA_HEADERS_H
#define WORKER_LUA_HEADERS_H

#include "common/buffer.h"

#include <lua.h>

/* -> table. Raises where the bytes are no field table, or nest deeper than FIELDS_DEPTH_MAX. */
void lua_headers_push(lua_State *lua, struct slice table);

#endif
