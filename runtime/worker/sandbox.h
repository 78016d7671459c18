/* What a script may see: opens the libraries that are left to it and runs scripts/sandbox.lua, which builds
 * its environment. Afterwards every chunk that is loaded in the state has that environment for its globals.
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "worker/state.h"

#include <lua.h>

/* Called once for a new state, inside a protected call: raises where memory is short. Fills every slot that
 * does not depend on the script. */
void sandbox_install(struct state *state, lua_State *lua);

#endif
