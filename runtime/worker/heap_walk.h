/* The walk through all that a Lua state can reach: loaded modules, the script's functions with their upvalues
 * and environments, globals, the registry; the entries and metatables of tables, the stacks of coroutines,
 * userdata. Each object is found once, belongs to a named place (heap_places.h) and is counted there.
 *
 * What only messages under way hold (their coroutines, tasks.h) is theirs and is not looked at.
 *
 * What has a name is found before what lies in a list, on the shortest way. Nothing is recursive and nothing
 * of the script's runs: tables are read raw, weak references are not followed. What is still to be visited
 * waits in two tables of the state itself, which no script ever sees and which are not charged to it; memory
 * beside those, and the time, are bounded: a walk that does not get through says so. */
#ifndef WORKER_HEAP_WALK_H
#define WORKER_HEAP_WALK_H

#include "worker/heap_places.h"
#include "worker/heap_seen.h"
#include "worker/state.h"

#include <stdbool.h>
#include <stdint.h>

enum { HEAP_OBJECTS_MAX = 2 * 1024 * 1024 };

/* While the state is opened. May raise. */
void heap_walk_install(struct state *state, lua_State *lua);

struct heap_walk_limits {
    int64_t until_ns;
    int64_t until_cpu_ns; /* of this thread */
    uint64_t entries_max; /* of one table that are looked into, at least 1; the others are only counted */
    bool script_only;     /* what no script reaches, the program's own, is left out */
    uint64_t objects_max; /* of one place, about; what is behind them is left out */
};

/* Counts what there is into the figures of `places`, which have been begun. Between messages only, or while
 * none that is under way is on the processor, of a state that has not tripped. False where it had to stop:
 * then they are good for nothing. *ret_weak: there are weak tables, which have entries that are garbage until
 * the next full collection. */
bool heap_walk(struct state *state, struct places *places, struct heap_seen *seen,
               const struct heap_walk_limits *limits, bool *ret_weak);

/* What objects take, about: with the word that LuaJIT's allocator has in front of each block. */
enum {
    HEAP_BLOCK_BYTES = 8,
    HEAP_STRING_BYTES = 36, /* and its length */
    HEAP_TABLE_BYTES = 72,
    HEAP_SLOT_BYTES = 8,  /* an entry of an array */
    HEAP_NODE_BYTES = 24, /* any other */
    HEAP_FUNCTION_BYTES = 48,
    HEAP_UPVALUE_BYTES = 64, /* with the variable itself */
    HEAP_COROUTINE_BYTES = 488,
    HEAP_USERDATA_BYTES = 56, /* and its size */
    HEAP_CDATA_BYTES = 32,
};

#endif
