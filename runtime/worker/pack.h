/* Lua values as bytes, and back: what the cache keeps of tables.
 *
 * The bytes come back from memory that every worker can write, so reading trusts none of them: whatever they
 * are, what comes out is a plain value (nothing but nil's stand-in cjson.null, booleans, numbers, strings and
 * tables of these), or nothing. That is why it is not LuaJIT's string.buffer: its decoder also makes light
 * userdata of any address, and cdata, for which it brings the FFI into the state.
 *
 * Tables are read raw. Their metatables are not kept; a table that is met twice becomes two. */
#ifndef WORKER_PACK_H
#define WORKER_PACK_H

#include "common/buffer.h"
#include "worker/scratch.h"

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

enum {
    PACK_DEPTH_MAX = 100, /* of tables in tables */
    PACK_PROBLEM_BYTES = 80,
};

/* Appends the value at `index` to `scratch`, which may come to hold `most` bytes; false with the reason where
 * it cannot. */
bool pack_write(struct scratch *scratch, int index, size_t most, char problem[PACK_PROBLEM_BYTES]);

/* Pushes the value; false, with nothing pushed, where the bytes are none that pack_write wrote. The value
 * takes memory in proportion to the bytes. */
bool pack_read(lua_State *lua, struct slice bytes);

#endif
