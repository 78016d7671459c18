/* One delivery through the script's handler: decode the body, call, read the verdict. */
#ifndef WORKER_HANDLER_H
#define WORKER_HANDLER_H

#include "worker/message.h"
#include "worker/state.h"
#include "worker/verdict.h"

#include <lua.h>

/* Fills the slot STATE_TAKE_MESSAGE. May raise. */
void handler_install(struct state *state, lua_State *lua);

/* Decodes the message at hand; false where there is an outcome already. Stack: -> handle, data, message */
bool handler_prepare(struct state *state, struct outcome *outcome);

/* The outcome of a message that has failed, as the state's note says why; a trip is the verdict, whatever it
 * looked like. */
void handler_fail(const struct state *state, enum wire_verdict verdict, struct outcome *outcome);

/* Runs the handler of a loaded state on the message, which is borrowed until the return: the message object
 * that the script saw is over then. Whatever happens in the script, an outcome is what comes of it. */
void handler_run(struct state *state, const struct message *message, int64_t now_ns, struct outcome *outcome);

#endif
