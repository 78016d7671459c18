/* When LuaJIT's collector has ended a cycle, and what the heap holds then: what lives, and what came while
 * the cycle went on.
 *
 * An object that nothing refers to awaits it: at the end of a cycle the collector finalizes what it found to
 * be garbage. So it costs nothing until then, and no heap is looked at. */
#ifndef WORKER_CYCLE_H
#define WORKER_CYCLE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

struct quota;
struct state;

struct cycle {
    const struct quota *quota; /* of the state */
    bool awaited;
    bool ended;          /* since it was awaited */
    uint64_t heap_bytes; /* right then */
};

/* While the state is opened. May raise. */
void cycle_install(struct state *state, lua_State *lua);

/* Between messages: the next cycle is awaited, and none has ended. */
void cycle_await(struct state *state);

#endif
