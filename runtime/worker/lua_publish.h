/* Publishing from scripts (message:publish, message:reply, worker:publish): what a script wants sent, checked
 * and put into the outbox.
 *
 * All that the broker would refuse is refused here, as an error of the script that names the property and its
 * value: a broker answers such a message by closing the channel on which others publish, too. */
#ifndef WORKER_LUA_PUBLISH_H
#define WORKER_LUA_PUBLISH_H

#include "worker/state.h"

#include <lua.h>

/* object:publish(exchange, routing_key, body [, properties]); `object` is that of a message, of setup or of
 * teardown, and its script still runs. Functions for scripts: they find their state by state_of. */
int lua_publish(lua_State *lua);

/* message:reply(body [, properties]) */
int lua_publish_reply(lua_State *lua);

/* -> the object that setup and teardown get: nothing but its method publish. May raise. */
void lua_publish_push_worker(struct state *state, lua_State *lua);

#endif
