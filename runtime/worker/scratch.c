/* Growing a function's working bytes; see scratch.h. */
#include "worker/scratch.h"

#include <string.h>

void scratch_init(struct scratch *scratch, lua_State *lua)
{
    scratch->lua = lua;
    scratch->data = scratch->first;
    scratch->size = 0;
    scratch->capacity = sizeof scratch->first;
    lua_pushnil(lua);
    scratch->place = lua_gettop(lua);
}

void scratch_grow(struct scratch *scratch, size_t capacity)
{
    if (capacity <= scratch->capacity)
        return;
    char *data = lua_newuserdata(scratch->lua, capacity);
    memcpy(data, scratch->data, scratch->size);
    lua_replace(scratch->lua, scratch->place);
    scratch->data = data;
    scratch->capacity = capacity;
}
