/* The log module of handlers: log.debug, log.info, log.warn, log.error (message [, fields]).
 *
 * A line becomes a WIRE_LOG frame; what is below the consumer's level costs a comparison. Everything is
 * bounded: the message, the number of fields (the first by name stay), their names and values. Logging never
 * fails a message. */
#ifndef WORKER_LUA_LOG_H
#define WORKER_LUA_LOG_H

#include "worker/state.h"

#include <lua.h>

/* -> table of the four functions. May raise. */
void lua_log_push(struct state *state, lua_State *lua);

#endif
