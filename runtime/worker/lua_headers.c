/* AMQP field tables as Lua tables; see lua_headers.h. */
#include "worker/lua_headers.h"

#include "common/fields.h"

#include <lauxlib.h>

enum { STACK_PER_LEVEL = 4 }; /* table, key, value, one to spare */

static void push_table(lua_State *lua, struct slice entries, int depth);
static void push_array(lua_State *lua, struct slice values, int depth);

static void push_field(lua_State *lua, const struct field *field, int depth)
{
    switch (field->kind) {
    case FIELD_BOOLEAN:
        lua_pushboolean(lua, field->integer != 0);
        break;
    case FIELD_INTEGER:
        lua_pushnumber(lua, (lua_Number)field->integer);
        break;
    case FIELD_UNSIGNED:
    case FIELD_TIMESTAMP:
        lua_pushnumber(lua, (lua_Number)(uint64_t)field->integer);
        break;
    case FIELD_DOUBLE:
        lua_pushnumber(lua, field->number);
        break;
    case FIELD_BYTES:
        lua_pushlstring(lua, field->bytes.data, field->bytes.size);
        break;
    case FIELD_TABLE:
        push_table(lua, field->bytes, depth + 1);
        break;
    case FIELD_ARRAY:
        push_array(lua, field->bytes, depth + 1);
        break;
    case FIELD_VOID:
    default:
        lua_pushlightuserdata(lua, NULL); /* cjson.null */
    }
}

/* -> empty table */
static void begin_level(lua_State *lua, int depth)
{
    if (depth > FIELDS_DEPTH_MAX)
        luaL_error(lua, "the headers of this message nest deeper than %d tables", FIELDS_DEPTH_MAX);
    luaL_checkstack(lua, STACK_PER_LEVEL, "headers");
    lua_newtable(lua);
}

static void end_level(lua_State *lua, enum fields_next next)
{
    if (next == FIELDS_BROKEN)
        luaL_error(lua, "the headers of this message cannot be read: they are not a well-formed AMQP table");
}

static void push_table(lua_State *lua, struct slice entries, int depth)
{
    struct slice name;
    struct field field;
    enum fields_next next;
    begin_level(lua, depth);
    while ((next = fields_next_entry(&entries, &name, &field)) == FIELDS_ONE) {
        lua_pushlstring(lua, name.data, name.size);
        push_field(lua, &field, depth);
        lua_rawset(lua, -3);
    }
    end_level(lua, next);
}

static void push_array(lua_State *lua, struct slice values, int depth)
{
    struct field field;
    enum fields_next next;
    int place = 0;
    begin_level(lua, depth);
    while ((next = fields_next_value(&values, &field)) == FIELDS_ONE) {
        push_field(lua, &field, depth);
        lua_rawseti(lua, -2, ++place);
    }
    end_level(lua, next);
}

void lua_headers_push(lua_State *lua, struct slice table)
{
    push_table(lua, table, 1);
}
