/* The hook that ends a message; see trip.h. */
#include "worker/trip.h"

#include "worker/fault.h"
#include "worker/quota.h"

/* Its address is the error: raising it allocates nothing. */
static char tripped;

int trip_raise(lua_State *lua)
{
    lua_pushlightuserdata(lua, &tripped);
    return lua_error(lua);
}

static void describe(struct trip *trip, lua_State *lua)
{
    if (trip->described)
        return;
    trip->described = 1;
    fault_trace(&trip->where, lua, 0);
}

static void on_hook(lua_State *lua, lua_Debug *event)
{
    (void)event;
    struct quota *quota = quota_of(lua);
    describe(quota->trip, lua);
    (void)trip_raise(lua);
}

void trip_init(struct trip *trip, lua_State *lua)
{
    trip->lua = lua;
    trip->kind = TRIP_NONE;
    trip->described = 0;
    trip->where.size = 0;
}

void trip_arm(struct trip *trip, enum trip_kind kind)
{
    if (!trip->lua)
        return;
    if (trip->kind == TRIP_NONE)
        trip->kind = kind;
    /* Off and on: setting what is set already would leave a half-changed dispatch as it is. */
    (void)lua_sethook(trip->lua, NULL, 0, 0);
    (void)lua_sethook(trip->lua, on_hook, LUA_MASKCOUNT, 1);
}
