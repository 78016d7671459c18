/* The message object: the second argument of a handler.
 *
 * A userdata that holds nothing but the number of its message and reads the delivery's fields on demand.
 * Scripts may keep it: once its message is over, each access raises, and no pointer is followed. */
#ifndef WORKER_LUA_MESSAGE_H
#define WORKER_LUA_MESSAGE_H

#include "worker/state.h"

#include <lua.h>

/* -> the metatable of message objects, made once for each state. May raise. */
void lua_message_push_metatable(struct state *state, lua_State *lua);

/* -> an object for the message at hand; `metatable` is where the metatable is. May raise. */
void lua_message_push(struct state *state, lua_State *lua, int metatable);

/* The message is over: lets go of what was kept for it. Called from outside of Lua. */
void lua_message_forget(struct state *state);

#endif
