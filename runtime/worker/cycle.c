/* Awaiting the end of a collector's cycle; see cycle.h. */
#include "worker/cycle.h"

#include "worker/state.h"

/* (herald): it is garbage, and all that is has been freed. Called in the middle of whatever the script does:
 * it does nothing that could raise. */
static int on_end(lua_State *lua)
{
    struct state *const *herald = lua_touserdata(lua, 1);
    struct state *state = *herald;
    state->cycle.awaited = false;
    state->cycle.ended++;
    quota_cycle_ended(&state->quota);
    return 0;
}

/* (), with the metatable of heralds as the second upvalue */
static int send_herald(lua_State *lua)
{
    struct state **herald = lua_newuserdata(lua, sizeof(struct state *));
    *herald = state_of(lua);
    lua_pushvalue(lua, lua_upvalueindex(2));
    (void)lua_setmetatable(lua, -2);
    return 0;
}

void cycle_install(struct state *state, lua_State *lua)
{
    lua_pushlightuserdata(lua, state);
    lua_createtable(lua, 0, 1);
    lua_pushcfunction(lua, on_end);
    lua_setfield(lua, -2, "__gc");
    lua_pushcclosure(lua, send_herald, 2);
    state_set_slot(lua, STATE_AWAIT_CYCLE);
}

/* Without memory there is no herald, and none is awaited. */
void cycle_await(struct state *state)
{
    if (state->cycle.awaited)
        return;
    quota_set_aside(&state->quota, true);
    state_push(state, STATE_AWAIT_CYCLE);
    state->cycle.awaited = state_call(state, 0, 0);
    quota_set_aside(&state->quota, false);
}
