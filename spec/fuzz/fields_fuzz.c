/* A message's headers: from their encoding to a Lua table. Whatever the bytes are, there is a table or an
 * error that says why not, and all of it is plain. */
#include "worker/lua_headers.h"

#include "common/fields.h"

#include "fuzz.h"

#include <lauxlib.h>

static int push(lua_State *lua)
{
    const struct slice *table = lua_touserdata(lua, 1);
    lua_headers_push(lua, *table);
    return 1;
}

/* Strings, numbers, booleans, tables of these, and the light userdata that stands for null. */
static void must_be_plain(lua_State *lua, int depth)
{
    int type = lua_type(lua, -1);
    MUST(type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN || type == LUA_TTABLE ||
         (type == LUA_TLIGHTUSERDATA && !lua_touserdata(lua, -1)));
    MUST(depth <= FIELDS_DEPTH_MAX);
    if (type != LUA_TTABLE)
        return;
    MUST(lua_checkstack(lua, 4));
    for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1))
        must_be_plain(lua, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    struct slice table = fuzz_input(data, size);
    if (!lua)
        lua = luaL_newstate();
    MUST(lua);
    lua_settop(lua, 0);
    lua_pushcfunction(lua, push);
    lua_pushlightuserdata(lua, &table);
    if (lua_pcall(lua, 1, 1, 0) == 0) {
        MUST(lua_istable(lua, -1));
        must_be_plain(lua, 0);
    } else {
        MUST(lua_type(lua, -1) == LUA_TSTRING);
    }
    return 0;
}
