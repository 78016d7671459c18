/* Trusted Lua for fuzz targets: a state with all libraries and the scripts that the binary carries, as
 * console.c has it. */
#ifndef SPEC_FUZZ_CONSOLE_H
#define SPEC_FUZZ_CONSOLE_H

#include "common/scripts.h"
#include "test/lua_trial.h"

#include "fuzz.h"

#include <lauxlib.h>
#include <lua-cjson.h>
#include <lualib.h>

extern int luaopen_cjson_safe(lua_State *lua); /* which lua-cjson.h does not declare */

/* Called by the sanitizer's runtime: cjson's buffers belong to objects in LuaJIT's memory, where no pointer
 * is looked for. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:json_realloc\n";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

struct console_script {
    const char *name;
    const char *text;
    const size_t *size;
};

static int console_load(lua_State *lua)
{
    const struct console_script *script = lua_touserdata(lua, lua_upvalueindex(1));
    if (luaL_loadbuffer(lua, script->text, *script->size, script->name) != 0)
        return lua_error(lua);
    return lua_pcall(lua, 0, 1, 0) == 0 ? 1 : lua_error(lua);
}

static int console_push_host(lua_State *lua)
{
    lua_trial_push(lua);
    return 1;
}

static void console_preload(lua_State *lua, const char *name, lua_CFunction open)
{
    lua_pushcfunction(lua, open);
    lua_setfield(lua, -2, name);
}

/* An error of the scripts is one that was found. */
static inline void console_must(lua_State *lua, int status)
{
    if (status != 0)
        (void)fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    MUST(status == 0);
}

/* `scripts` end with one without a name; `main`, a chunk, is given a function and returns the one that the
 * target calls, which is at 1 of the stack then. */
static inline lua_State *console_open(const struct console_script *scripts, const char *main,
                                      lua_CFunction given)
{
    lua_State *lua = luaL_newstate();
    MUST(lua);
    luaL_openlibs(lua);
    lua_getglobal(lua, "package");
    lua_getfield(lua, -1, "preload");
    for (const struct console_script *script = scripts; script->name; script++) {
        lua_pushlightuserdata(lua, (void *)(uintptr_t)script);
        lua_pushcclosure(lua, console_load, 1);
        lua_setfield(lua, -2, script->name);
    }
    console_preload(lua, "moonrabbit.host", console_push_host);
    console_preload(lua, "cjson", luaopen_cjson);
    console_preload(lua, "cjson.safe", luaopen_cjson_safe);
    lua_settop(lua, 0);
    MUST(luaL_loadbuffer(lua, main, strlen(main), "=target") == 0);
    lua_pushcfunction(lua, given);
    console_must(lua, lua_pcall(lua, 1, 1, 0));
    return lua;
}

/* Calls the function with what lies above it. */
static inline void console_call(lua_State *lua)
{
    lua_pushvalue(lua, 1);
    lua_insert(lua, 2);
    console_must(lua, lua_pcall(lua, lua_gettop(lua) - 2, 0, 0));
    (void)lua_gc(lua, LUA_GCSTEP, 100);
}

#endif
