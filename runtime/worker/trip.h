/* The trip: what ends a message for certain when it has used up its memory, its time or its stack.
 *
 * A hook is armed that raises at the next instruction of Lua, and at the next after whoever caught that, and
 * so on until nothing of the script is left on the stack: pcall, coroutines, metamethods and callbacks catch
 * one error each and run no instruction more. So nothing but xpcall has to be replaced for it (its handler
 * would run with hooks off; see scripts/sandbox.lua). A trip is never taken back: the state is closed after
 * it.
 *
 * What no hook reaches is a compiled loop, until it leaves its trace (every cycle of the garbage collector
 * makes it), and a C function, until it returns: for these there are the allocator's refusal and the host's
 * kill. */
#ifndef WORKER_TRIP_H
#define WORKER_TRIP_H

#include "worker/note.h"

#include <signal.h>
#include <stdbool.h>

#include <lua.h>

enum trip_kind { TRIP_NONE, TRIP_MEMORY, TRIP_TIME, TRIP_STACK };

struct trip {
    lua_State *lua;                  /* NULL: no state is open */
    volatile sig_atomic_t kind;      /* enum trip_kind: the first that came */
    volatile sig_atomic_t described; /* `where` is written */
    struct note where; /* a traceback of where the script was; empty where no hook was reached */
};

void trip_init(struct trip *trip, lua_State *lua);

/* Arms the hook. Async-signal-safe, and safe inside the allocator; to be repeated while the message goes on,
 * since the signal may have come while the VM was changing its dispatch itself. */
void trip_arm(struct trip *trip, enum trip_kind kind);

/* Raises what the hook raises, from a C function that cannot go on. */
int trip_raise(lua_State *lua);

#endif
