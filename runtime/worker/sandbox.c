/* The environment of scripts; see sandbox.h. What is decided here is which libraries are in the state at all
 * (io, package, debug and ffi are not); what of them a script sees is decided in scripts/sandbox.lua. */
#include "worker/sandbox.h"

#include "common/scripts.h"
#include "worker/handler.h"
#include "worker/cycle.h"
#include "worker/heap_walk.h"
#include "worker/lua_cache.h"
#include "worker/lua_http.h"
#include "worker/lua_log.h"
#include "worker/lua_memory.h"
#include "worker/require.h"
#include "worker/script.h"
#include "worker/wait.h"

#include <lauxlib.h>
#include <lua-cjson.h>
#include <lualib.h>

/* lua-cjson.h declares only luaopen_cjson. */
extern int luaopen_cjson_safe(lua_State *lua);

/* The jit library is there to turn the compiler on; the environment does not show it. */
static const luaL_Reg libraries[] = {
    { "", luaopen_base },
    { LUA_TABLIBNAME, luaopen_table },
    { LUA_STRLIBNAME, luaopen_string },
    { LUA_MATHLIBNAME, luaopen_math },
    { LUA_OSLIBNAME, luaopen_os },
    { LUA_BITLIBNAME, luaopen_bit },
    { LUA_JITLIBNAME, luaopen_jit },
    { NULL, NULL },
};

/* Calls what was pushed; the caller is inside a protected call, which an error goes on to. */
static void call(lua_State *lua, int arguments, int results)
{
    if (lua_pcall(lua, arguments, results, 0) != 0)
        (void)lua_error(lua);
}

static void open_libraries(lua_State *lua)
{
    for (const luaL_Reg *library = libraries; library->func; library++) {
        lua_pushcfunction(lua, library->func);
        lua_pushstring(lua, library->name);
        call(lua, 1, 0);
    }
}

/* -> a cjson table of its own, with settings of its own */
static void push_cjson(lua_State *lua, lua_CFunction open)
{
    lua_pushcfunction(lua, open);
    call(lua, 0, 1);
}

/* The host's own decoder, which no script can set otherwise: strict, since a body with NaN in it is not JSON.
 */
static void install_decoder(lua_State *lua)
{
    push_cjson(lua, luaopen_cjson);
    lua_getfield(lua, -1, "decode_invalid_numbers");
    lua_pushboolean(lua, false);
    call(lua, 1, 0);
    lua_getfield(lua, -1, "decode");
    state_set_slot(lua, STATE_DECODE_JSON);
    lua_pop(lua, 1);
}

/* (): the coroutine that calls is about to call cjson, unless the message is over */
static int enter_json(lua_State *lua)
{
    struct state *state = state_of(lua);
    if (state->trip.kind != TRIP_NONE)
        return trip_raise(lua);
    state->quota.at_work = lua;
    return 0;
}

/* (): a coroutine is about to be entered, unless the message is over or the stack too deep */
static int enter_coroutine(lua_State *lua)
{
    struct state *state = state_of(lua);
    if (!quota_has_stack(&state->quota) || state->trip.kind != TRIP_NONE)
        return trip_raise(lua);
    return 0;
}

/* () -> whether the message is over */
static int tripped(lua_State *lua)
{
    lua_pushboolean(lua, state_of(lua)->trip.kind != TRIP_NONE);
    return 1;
}

/* -> the table that scripts/sandbox.lua calls `host` */
static void push_host(struct state *state, lua_State *lua)
{
    lua_newtable(lua);
    push_cjson(lua, luaopen_cjson);
    lua_setfield(lua, -2, "cjson");
    push_cjson(lua, luaopen_cjson_safe);
    lua_setfield(lua, -2, "cjson.safe");
    lua_cache_push(state, lua);
    lua_setfield(lua, -2, "cache");
    lua_log_push(state, lua);
    lua_setfield(lua, -2, "log");
    lua_memory_push(state, lua);
    lua_setfield(lua, -2, "memory");
    state_push_function(state, lua, require_load_module);
    lua_setfield(lua, -2, "load_module");
    state_push_function(state, lua, enter_json);
    lua_setfield(lua, -2, "enter_json");
    state_push_function(state, lua, enter_coroutine);
    lua_setfield(lua, -2, "enter_coroutine");
    state_push_function(state, lua, tripped);
    lua_setfield(lua, -2, "tripped");
    wait_push_functions(state, lua);
    lua_http_push_functions(state, lua);
    lua_pushboolean(lua, state->assignment->limits.concurrency > 1);
    lua_setfield(lua, -2, "concurrent");
}

/* -> scripts/sandbox.lua as a function */
static void load_prelude(lua_State *lua)
{
    if (luaL_loadbufferx(lua, script_sandbox, script_sandbox_size, "=moonrabbit", "t") != 0)
        (void)lua_error(lua);
}

static void install_environment(struct state *state, lua_State *lua)
{
    load_prelude(lua);
    push_host(state, lua);
    lua_pushvalue(lua, -1);
    state_set_slot(lua, STATE_HOST);
    call(lua, 1, 5);
    state_set_slot(lua, STATE_CONTENTS);
    state_set_slot(lua, STATE_MODULES);
    state_set_slot(lua, STATE_GLOBALS);
    state_set_slot(lua, STATE_SEAL);
    lua_replace(lua, LUA_GLOBALSINDEX);
}

void sandbox_install(struct state *state, lua_State *lua)
{
    open_libraries(lua);
    install_decoder(lua);
    heap_walk_install(state, lua);
    cycle_install(state, lua);
    install_environment(state, lua);
    script_install(state, lua);
    handler_install(state, lua);
}
