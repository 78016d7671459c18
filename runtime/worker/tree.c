/* Lua values as trees; see tree.h. */
#include "worker/tree.h"

#include "worker/note.h"
#include "worker/value.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>

enum {
    STACK_PER_LEVEL = 4, /* key, value, and two to spare */
    SPARSE_FROM = 10,    /* a list this long may have as many holes as items, as cjson has it */
    MAP = -1,            /* what a table is where it is no list of so many items */
};

/* Where in the tree something stands: "body.items[3]", from the inside out. */
struct place {
    const struct place *outer; /* NULL: the root, whose name it has */
    struct slice name;         /* of an item of a map */
    int number;                /* of an item of a list */
    int depth;
};

struct writer {
    lua_State *lua;
    const struct tree_format *format;
    struct buffer *to;
};

static void write_value(struct writer *writer, int index, const struct place *place);

static void append_place(struct note *note, const struct place *place)
{
    if (!place->outer) {
        note_append(note, place->name);
        return;
    }
    append_place(note, place->outer);
    if (place->number > 0) {
        note_printf(note, "[%d]", place->number);
        return;
    }
    note_text(note, ".");
    note_append(note, place->name);
}

/* Raises "<place> <problem>". */
static void refuse(const struct writer *writer, const struct place *place, const char *problem)
{
    struct note note;
    note.size = 0;
    append_place(&note, place);
    lua_pushlstring(writer->lua, note.text, note.size);
    (void)luaL_error(writer->lua, "%s %s", lua_tostring(writer->lua, -1), problem);
}

/* Whether the key at the top can be that of a list's item; then its number is looked at. */
static bool is_place_in_list(lua_State *lua, double *most)
{
    if (lua_type(lua, -1) != LUA_TNUMBER)
        return false;
    double number = lua_tonumber(lua, -1);
    if (!(number >= 1 && number <= INT32_MAX && number == floor(number)))
        return false;
    if (number > *most)
        *most = number;
    return true;
}

/* How many items it has as a list, or MAP. */
static int length_of(const struct writer *writer, int index, const struct place *place)
{
    lua_State *lua = writer->lua;
    double most = 0, count = 0;
    lua_pushnil(lua);
    while (lua_next(lua, index)) {
        lua_pop(lua, 1);
        if (!is_place_in_list(lua, &most)) {
            lua_pop(lua, 1);
            return MAP;
        }
        count++;
    }
    if (count == 0)
        return MAP;
    if (most > SPARSE_FROM && most > 2 * count)
        refuse(writer, place,
               "is a list with more holes than items: give its items the keys 1, 2, 3 and so on");
    return (int)most;
}

static void separate(const struct writer *writer, bool first)
{
    if (!first && writer->format->put_separator)
        writer->format->put_separator(writer->to);
}

static void write_list(struct writer *writer, int index, int length, const struct place *place)
{
    lua_State *lua = writer->lua;
    size_t mark = writer->format->begin(writer->to, true);
    for (int i = 1; i <= length && !writer->to->failed; i++) {
        const struct place item = { .outer = place, .number = i, .depth = place->depth + 1 };
        separate(writer, i == 1);
        lua_rawgeti(lua, index, i);
        write_value(writer, lua_gettop(lua), &item);
        lua_pop(lua, 1);
    }
    writer->format->end(writer->to, mark, true);
}

/* The key at `index` as text; a number's digits go to `digits`. */
static struct slice name_of(const struct writer *writer, int index, const struct place *place,
                            char digits[VALUE_NUMBER_BYTES])
{
    lua_State *lua = writer->lua;
    struct slice name = { .data = digits };
    switch (lua_type(lua, index)) {
    case LUA_TSTRING:
        name.data = lua_tolstring(lua, index, &name.size);
        break;
    case LUA_TNUMBER:
        name.size = value_format_number(lua_tonumber(lua, index), digits);
        break;
    default:
        lua_pushfstring(lua, "has a %s for a key: only texts and numbers can be keys",
                        luaL_typename(lua, index));
        refuse(writer, place, lua_tostring(lua, -1));
    }
    if (name.size > writer->format->name_bytes_max) {
        lua_pushfstring(lua, "has a key of %d bytes, and %d are allowed", (int)name.size,
                        (int)writer->format->name_bytes_max);
        refuse(writer, place, lua_tostring(lua, -1));
    }
    return name;
}

static bool is_left_out(const struct writer *writer, struct slice name, const struct place *place)
{
    const char *prefix = place->outer ? NULL : writer->format->left_out;
    return prefix && name.size >= strlen(prefix) && memcmp(name.data, prefix, strlen(prefix)) == 0;
}

static void write_map(struct writer *writer, int index, const struct place *place)
{
    lua_State *lua = writer->lua;
    size_t mark = writer->format->begin(writer->to, false);
    bool first = true;
    lua_pushnil(lua);
    while (lua_next(lua, index)) {
        int value = lua_gettop(lua);
        char digits[VALUE_NUMBER_BYTES];
        struct slice name = name_of(writer, value - 1, place, digits);
        if (!is_left_out(writer, name, place) && !writer->to->failed) {
            const struct place item = { .outer = place, .name = name, .depth = place->depth + 1 };
            separate(writer, first);
            writer->format->put_name(writer->to, name);
            write_value(writer, value, &item);
            first = false;
        }
        lua_pop(lua, 1);
    }
    writer->format->end(writer->to, mark, false);
}

static void write_table(struct writer *writer, int index, const struct place *place)
{
    if (place->depth >= writer->format->depth_max) {
        lua_pushfstring(writer->lua, "is a table inside of %d others: so deep a table cannot be written",
                        place->depth);
        refuse(writer, place, lua_tostring(writer->lua, -1));
    }
    luaL_checkstack(writer->lua, STACK_PER_LEVEL, "tables inside tables");
    int length = length_of(writer, index, place);
    if (length == MAP)
        write_map(writer, index, place);
    else
        write_list(writer, index, length, place);
}

static void write_number(struct writer *writer, int index, const struct place *place)
{
    double number = lua_tonumber(writer->lua, index);
    if (isnan(number))
        refuse(writer, place, "is not a number (0/0)");
    if (isinf(number))
        refuse(writer, place, "is infinite");
    writer->format->put_number(writer->to, number);
}

static void write_value(struct writer *writer, int index, const struct place *place)
{
    lua_State *lua = writer->lua;
    struct slice text;
    switch (lua_type(lua, index)) {
    case LUA_TNIL:
        writer->format->put_null(writer->to);
        break;
    case LUA_TBOOLEAN:
        writer->format->put_boolean(writer->to, lua_toboolean(lua, index) != 0);
        break;
    case LUA_TNUMBER:
        write_number(writer, index, place);
        break;
    case LUA_TSTRING:
        text.data = lua_tolstring(lua, index, &text.size);
        writer->format->put_text(writer->to, text);
        break;
    case LUA_TTABLE:
        write_table(writer, index, place);
        break;
    case LUA_TLIGHTUSERDATA: /* cjson.null; scripts meet no other */
        writer->format->put_null(writer->to);
        break;
    default:
        lua_pushfstring(lua, "is a %s, which only lives in this worker", luaL_typename(lua, index));
        refuse(writer, place, lua_tostring(lua, -1));
    }
}

void tree_write(lua_State *lua, int index, const char *name, const struct tree_format *format,
                struct buffer *to)
{
    struct writer writer = { .lua = lua, .format = format, .to = to };
    const struct place root = { .name = slice_of(name) };
    luaL_checkstack(lua, STACK_PER_LEVEL, "tables inside tables");
    write_value(&writer, index, &root);
}
