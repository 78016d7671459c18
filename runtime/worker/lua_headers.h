/* A message's headers as a Lua table, and a Lua table as headers.
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

enum lua_headers_choice {
    LUA_HEADERS_ALL,
    LUA_HEADERS_NOT_OWN, /* without the host's own (own_headers.h): a script must not pass those on */
};

/* The other way round: appends the table at `index` (absolute) as attribute WIRE_HEADERS. Whole numbers
 * become integers, others doubles; texts, booleans, cjson.null, lists and tables by name what they are.
 * Raises where anything else is in it, or it nests deeper than FIELDS_DEPTH_MAX. */
void lua_headers_write(lua_State *lua, int index, struct buffer *to, enum lua_headers_choice choice);

#endif
