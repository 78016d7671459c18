/* Lua values written out as trees of lists and maps: as JSON (json_text.h) or as AMQP fields (lua_headers.h).
 *
 * Read raw: no metamethod of the script runs. A table whose keys are 1, 2, 3 and so on is a list, any other
 * is a map by text, the empty one too; holes in a list are null, as cjson has it. What has no place in a tree
 * (a function, a key that is a table, a number that is none, a table inside itself) is an error that names
 * where it stands. Recursion and output are bounded, so that a script costs no more than it was given. */
#ifndef WORKER_TREE_H
#define WORKER_TREE_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

/* How a format writes what a tree consists of. Failure is the buffer's `failed`. */
struct tree_format {
    int depth_max;         /* tables inside tables */
    size_t name_bytes_max; /* of a map's keys */
    const char *left_out;  /* keys of the outermost map that begin so are left out; NULL: none */
    void (*put_null)(struct buffer *to);
    void (*put_boolean)(struct buffer *to, bool value);
    void (*put_number)(struct buffer *to, double value); /* finite */
    void (*put_text)(struct buffer *to, struct slice text);
    void (*put_name)(struct buffer *to, struct slice name); /* of the value that comes next, in a map */
    void (*put_separator)(struct buffer *to);               /* between two items; NULL: nothing */
    size_t (*begin)(struct buffer *to, bool list);
    void (*end)(struct buffer *to, size_t mark, bool list); /* with what `begin` returned */
};

/* Writes the value at `index` (absolute), which errors call `name`. Raises an error of the script where it is
 * no tree; where the buffer is too small it stops early, and the buffer has failed. */
void tree_write(lua_State *lua, int index, const char *name, const struct tree_format *format,
                struct buffer *to);

#endif
