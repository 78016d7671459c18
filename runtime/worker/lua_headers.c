/* AMQP field tables as Lua tables and back; see lua_headers.h. */
#include "worker/lua_headers.h"

#include "common/fields.h"
#include "common/own_headers.h"
#include "common/wire.h"
#include "worker/tree.h"

#include <math.h>
#include <string.h>

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

static void put_number(struct buffer *to, double value)
{
    /* Below 2^63: what is whole there fits. */
    if (value == floor(value) && fabs(value) < 0x1p63)
        fields_put_integer(to, (int64_t)value);
    else
        fields_put_double(to, value);
}

static size_t begin(struct buffer *to, bool list)
{
    return list ? fields_begin_array(to) : fields_begin_table(to);
}

static void end(struct buffer *to, size_t mark, bool list)
{
    (void)list;
    fields_end(to, mark);
}

static const struct tree_format fields_format = {
    .depth_max = FIELDS_DEPTH_MAX,
    .name_bytes_max = FIELDS_NAME_MAX,
    .put_null = fields_put_void,
    .put_boolean = fields_put_boolean,
    .put_number = put_number,
    .put_text = fields_put_bytes,
    .put_name = fields_put_name,
    .begin = begin,
    .end = end,
};

/* A field that is a table begins with its kind and four bytes of length, an attribute with its id and as
 * many: so the one is written over the other. */
void lua_headers_write(lua_State *lua, int index, struct buffer *to, enum lua_headers_choice choice)
{
    enum { HEAD_BYTES = 1 + sizeof(uint32_t) };
    _Static_assert((int)HEAD_BYTES == (int)WIRE_ATTRIBUTE_BYTES, "both heads have the same size");
    const uint8_t id = WIRE_HEADERS;
    struct tree_format format = fields_format;
    size_t start = to->size;
    if (choice == LUA_HEADERS_NOT_OWN)
        format.left_out = OWN_PREFIX;
    tree_write(lua, index, "headers", &format, to);
    if (to->failed)
        return;
    if (to->data[start] == 'A')
        luaL_error(lua, "headers is a list: give a table by name");
    uint32_t size = (uint32_t)(to->size - start - HEAD_BYTES);
    memcpy(to->data + start, &id, sizeof id);
    memcpy(to->data + start + sizeof id, &size, sizeof size);
}
