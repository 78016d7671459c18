/* What went wrong in a call into Lua, in words: the error as the script raised it, then a traceback.
 * Written without running any code of the script: an error value's metamethods are not asked. */
#ifndef WORKER_FAULT_H
#define WORKER_FAULT_H

#include "worker/note.h"

#include <lua.h>

/* The text of the error value at `index`: a string as it is, a table's raw field `message` or `msg`, else
 * what kind of value it is. May allocate. */
void fault_describe(struct note *note, lua_State *lua, int index);

/* Where the running code is, innermost first, from `level` on. */
void fault_trace(struct note *note, lua_State *lua, int level);

#endif
