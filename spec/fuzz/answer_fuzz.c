/* The head of an answer to a handler's request by HTTP: whatever a server sends, the handler has a table of
 * texts by names in lower case, and no text holds more than came. */
/* All of it, for the function that takes bytes without a server. */
#include "worker/lua_http.c" /* NOLINT(bugprone-suspicious-include) */

#include "fuzz.h"

static int push(lua_State *lua)
{
    const struct slice *head = lua_touserdata(lua, 1);
    push_headers(lua, *head);
    return 1;
}

static void must_be_header(lua_State *lua, size_t most)
{
    size_t name_size, size;
    MUST(lua_type(lua, -2) == LUA_TSTRING && lua_type(lua, -1) == LUA_TSTRING);
    const char *name = lua_tolstring(lua, -2, &name_size);
    (void)lua_tolstring(lua, -1, &size);
    MUST(name_size > 0 && name_size + size <= 2 * most);
    for (size_t i = 0; i < name_size; i++)
        MUST(!isupper((unsigned char)name[i]) && name[i] != ':' && name[i] != '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    struct slice head = fuzz_input(data, size);
    if (!lua)
        lua = luaL_newstate();
    MUST(lua);
    lua_settop(lua, 0);
    lua_pushcfunction(lua, push);
    lua_pushlightuserdata(lua, &head);
    MUST(lua_pcall(lua, 1, 1, 0) == 0 && lua_istable(lua, -1));
    for (lua_pushnil(lua); lua_next(lua, 1); lua_pop(lua, 1))
        must_be_header(lua, size);
    return 0;
}
