/* When LuaJIT's collector has ended a cycle: what the heap holds then (`quota.after_cycle`) is what lives,
 * and what came while the cycle went on.
 *
 * An object that nothing refers to awaits it: at the end of a cycle the collector finalizes what it found to
 * be garbage. So it costs nothing until then, and no heap is looked at. */
#ifndef WORKER_CYCLE_H
#define WORKER_CYCLE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

struct state;

struct cycle {
    bool awaited;
    uint64_t ended; /* so many, that were awaited */
};

/* While the state is opened. May raise. */
void cycle_install(struct state *state, lua_State *lua);

/* Between messages, of a state that has not tripped: the next one that ends is counted. */
void cycle_await(struct state *state);

#endif
