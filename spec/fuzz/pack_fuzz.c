/* Values that come out of the cache's memory, which every worker can write: a plain value or none, and what
 * is read is written and read again as the same. */
#include "worker/pack.h"

#include "fuzz.h"

#include <lauxlib.h>

static int read_and_write(lua_State *lua)
{
    const struct slice *bytes = lua_touserdata(lua, 1);
    struct scratch scratch;
    char problem[PACK_PROBLEM_BYTES];
    if (!pack_read(lua, *bytes)) {
        MUST(lua_gettop(lua) == 1);
        return 0;
    }
    MUST(lua_gettop(lua) == 2);
    int type = lua_type(lua, 2);
    MUST(type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN || type == LUA_TTABLE ||
         (type == LUA_TLIGHTUSERDATA && !lua_touserdata(lua, 2)));
    scratch_init(&scratch, lua);
    MUST(pack_write(&scratch, 2, (size_t)1 << 24, problem));
    const struct slice again = { scratch.data, scratch.size };
    MUST(pack_read(lua, again));
    MUST(lua_type(lua, -1) == type);
    if (type != LUA_TTABLE)
        MUST(lua_rawequal(lua, 2, -1) || lua_tonumber(lua, 2) != lua_tonumber(lua, 2));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    struct slice bytes = fuzz_input(data, size);
    if (!lua)
        lua = luaL_newstate();
    MUST(lua);
    lua_settop(lua, 0);
    MUST(lua_cpcall(lua, read_and_write, &bytes) == 0);
    return 0;
}
