/* cjson's buffers, taken from the quota of the state that runs it.
 *
 * cjson allocates with malloc and ends the process where it gets nothing. The build gives it the functions
 * below instead (see the Makefile): what it holds is counted, goes with the state even where an error
 * left it behind, and a refusal is an error of the script that asked. They find the quota by one process-wide
 * pointer, as malloc's arguments leave no other way: a worker has one state at a time. Where no quota was
 * ever named, as in the trusted Lua of runtime/test, they are malloc.
 *
 * After a refusal cjson believes in a buffer that it has not got: it must not be called again in that state,
 * whose message is over (see enter_json in sandbox.c). Small blocks are never refused, since a module that is
 * made without its buffer would be freed with whatever lies where that should be. And cjson counts bytes in
 * int: strings and buffers are bounded far below where that would overflow. */
#ifndef WORKER_JSON_MEMORY_H
#define WORKER_JSON_MEMORY_H

#include "worker/quota.h"

#include <stddef.h>

/* From now on cjson lives on this quota, until the next one is named; its state is open that long. */
void json_memory_use(struct quota *quota);

void *json_malloc(size_t bytes);
void *json_realloc(void *block, size_t bytes);
void json_free(void *block);

/* lua_tolstring, for strings to encode: longer ones than it can write are an error of the script. */
const char *json_tolstring(lua_State *lua, int index, size_t *ret_size);

#endif
