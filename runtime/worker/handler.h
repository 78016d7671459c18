/* One delivery through the script's handler: decode the body, call, read the verdict. */
#ifndef WORKER_HANDLER_H
#define WORKER_HANDLER_H

#include "worker/message.h"
#include "worker/state.h"
#include "worker/verdict.h"

#include <lua.h>

/* Fills the slot STATE_TAKE_MESSAGE. May raise. */
void handler_install(struct state *state, lua_State *lua);

/* Runs the handler of a loaded state on the message, which is borrowed until the return: the message object
 * that the script saw is over then. Whatever happens in the script, an outcome is what comes of it. */
void handler_run(struct state *state, const struct message *message, int64_t now_ns, struct outcome *outcome);

#endif
