/* Bytes that a C function works with while a script calls it: on the native stack as long as few are enough,
 * then in a userdata of the state. So they count to the quota, and go with the state's garbage where an error
 * ends the call. Every function here may raise where memory is short, and none must be called with a lock
 * held. */
#ifndef WORKER_SCRATCH_H
#define WORKER_SCRATCH_H

#include <stddef.h>

#include <lua.h>

enum { SCRATCH_FIRST_BYTES = 2048 };

struct scratch {
    lua_State *lua;
    int place; /* on Lua's stack, of what `data` lies in once it has outgrown `first` */
    char *data;
    size_t size; /* in use */
    size_t capacity;
    char first[SCRATCH_FIRST_BYTES];
};

/* Takes one place on Lua's stack, the next. */
void scratch_init(struct scratch *scratch, lua_State *lua);

/* Makes room for so many bytes in all; what is in use stays. */
void scratch_grow(struct scratch *scratch, size_t capacity);

#endif
