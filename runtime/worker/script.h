/* The handler script: read, compiled, run once, and what it returned taken apart into handle, setup and
 * teardown. */
#ifndef WORKER_SCRIPT_H
#define WORKER_SCRIPT_H

#include "common/buffer.h"
#include "common/error.h"
#include "worker/state.h"

#include <stdbool.h>

#include <lua.h>

/* Fills the slots STATE_LOAD_SCRIPT, STATE_READ_SCRIPT and STATE_TAKE_WORKER. May raise. */
void script_install(struct state *state, lua_State *lua);

/* Loads the assignment's script into an open state, runs its setup, seals the globals and sends what setup
 * published; false with one sentence that names the file and, where there is one, the line. */
bool script_load(struct state *state, struct error *error);

/* Runs the script's teardown where it has one, and sends what it published; false with error. */
bool script_teardown(struct state *state, struct error *error);

/* For require.c too: compiles text (never bytecode). `path` is relative to the script's folder.
 * Pushes the chunk; or, and returns false, nil and what is wrong. */
bool script_compile(struct state *state, lua_State *lua, const char *path, const struct buffer *content);

#endif
