/* Lua tables as a message's headers, and back. The input is a program that builds values of every kind, such
 * as a script might give: what is taken can be read to its end, comes back as what was given, and is written
 * again as the same bytes; what is not taken is refused by a sentence. */
#include "worker/lua_headers.h"

#include "common/fields.h"
#include "common/wire.h"

#include "fuzz.h"

#include <lauxlib.h>

enum { SLOTS = 40, BYTES_MAX = 64 * 1024 };

struct program {
    const uint8_t *at;
    const uint8_t *end;
};

static uint8_t next_byte(struct program *program)
{
    return program->at < program->end ? *program->at++ : 0;
}

static void push_text(lua_State *lua, struct program *program)
{
    size_t size = next_byte(program);
    size_t left = (size_t)(program->end - program->at);
    size = size < left ? size : left;
    lua_pushlstring(lua, (const char *)program->at, size);
    program->at += size;
}

static void push_number(lua_State *lua, struct program *program)
{
    double number = 0;
    uint8_t bytes[sizeof number];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = next_byte(program);
    memcpy(&number, bytes, sizeof number);
    lua_pushnumber(lua, number);
}

static int nothing(lua_State *lua)
{
    (void)lua;
    return 0;
}

static void push_value(lua_State *lua, struct program *program)
{
    switch (next_byte(program) % 10) {
    case 0:
        lua_pushboolean(lua, next_byte(program) & 1);
        break;
    case 1:
        lua_pushnumber(lua, next_byte(program));
        break;
    case 2:
        push_number(lua, program);
        break;
    case 3:
        push_text(lua, program);
        break;
    case 4:
        lua_pushlightuserdata(lua, NULL);
        break;
    case 5: /* a table that there is already, inside itself perhaps */
        lua_pushvalue(lua, 1 + next_byte(program) % (lua_gettop(lua) - 1));
        break;
    case 6:
        lua_pushcfunction(lua, nothing);
        break;
    default:
        lua_newtable(lua);
        break;
    }
}

/* No two that are the same as text: of those one would be lost. */
static void push_key(lua_State *lua, struct program *program)
{
    uint8_t kind = next_byte(program);
    if (kind < 96) {
        lua_pushstring(lua, "x-");
        push_text(lua, program);
        lua_concat(lua, 2);
    } else if (kind < 240) {
        lua_pushnumber(lua, kind % 16 - 2);
    } else if (kind < 248) {
        lua_pushboolean(lua, kind & 1);
    } else {
        lua_newtable(lua);
    }
}

/* (program) -> table. Each slot of the stack holds a table; a step sets a field of one of them, and where the
 * value is a new table, that is the next slot. */
static int build(lua_State *lua)
{
    struct program program = *(struct program *)lua_touserdata(lua, 1);
    lua_settop(lua, 0);
    luaL_checkstack(lua, SLOTS + 8, "slots");
    lua_newtable(lua);
    while (program.at < program.end) {
        int slot = 1 + next_byte(&program) % lua_gettop(lua);
        push_key(lua, &program);
        push_value(lua, &program);
        lua_pushvalue(lua, -1);
        lua_insert(lua, -3); /* value, key, value */
        lua_rawset(lua, slot);
        if (!lua_istable(lua, -1) || lua_gettop(lua) > SLOTS)
            lua_pop(lua, 1);
    }
    lua_settop(lua, 1);
    return 1;
}

/* (table, buffer) */
static int write(lua_State *lua)
{
    lua_headers_write(lua, 1, lua_touserdata(lua, 2), LUA_HEADERS_ALL);
    return 0;
}

/* (attributes) -> table */
static int push(lua_State *lua)
{
    const struct slice *table = lua_touserdata(lua, 1);
    lua_headers_push(lua, *table);
    return 1;
}

static bool call(lua_State *lua, lua_CFunction function, int arguments, int results)
{
    lua_pushcfunction(lua, function);
    lua_insert(lua, -arguments - 1);
    bool done = lua_pcall(lua, arguments, results, 0) == 0;
    if (!done) {
        MUST(lua_type(lua, -1) == LUA_TSTRING && lua_objlen(lua, -1) > 0);
        lua_pop(lua, 1);
    }
    return done;
}

static bool write_table(lua_State *lua, int index, struct buffer *to)
{
    lua_pushvalue(lua, index);
    lua_pushlightuserdata(lua, to);
    return call(lua, write, 2, 0) && !to->failed;
}

/* The same values under the same names; a list may come back for a table whose holes are null now. */
static void must_be_same(lua_State *lua, int one, int other)
{
    MUST(lua_checkstack(lua, 6));
    for (lua_pushnil(lua); lua_next(lua, one); lua_pop(lua, 1)) {
        lua_pushvalue(lua, -2);
        if (lua_type(lua, -1) == LUA_TNUMBER) {
            lua_rawget(lua, other);
            if (lua_isnil(lua, -1)) { /* its key as a text, of a table that is no list */
                lua_pop(lua, 1);
                lua_pushvalue(lua, -2);
                (void)lua_tolstring(lua, -1, NULL);
                lua_rawget(lua, other);
            }
        } else {
            lua_rawget(lua, other);
        }
        MUST(lua_type(lua, -1) == lua_type(lua, -2));
        if (lua_istable(lua, -1))
            must_be_same(lua, lua_gettop(lua) - 1, lua_gettop(lua));
        else
            MUST(lua_rawequal(lua, -1, -2));
        lua_pop(lua, 1);
    }
}

static void try_table(lua_State *lua)
{
    struct buffer first, second;
    buffer_init(&first, BYTES_MAX);
    buffer_init(&second, BYTES_MAX);
    if (write_table(lua, 1, &first)) {
        struct slice headers;
        struct slice attributes = { .data = first.data, .size = first.size };
        MUST(wire_find(attributes, WIRE_HEADERS, &headers));
        MUST(headers.size + WIRE_ATTRIBUTE_BYTES == first.size);
        MUST(fields_are_sound(headers));
        lua_pushlightuserdata(lua, &headers);
        MUST(call(lua, push, 1, 1));
        must_be_same(lua, 1, 2);
        MUST(write_table(lua, 2, &second));
        MUST(first.size == second.size);
    }
    buffer_clear(&first);
    buffer_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    struct program program = { .at = data, .end = data + size };
    if (!lua)
        lua = luaL_newstate();
    MUST(lua);
    lua_settop(lua, 0);
    lua_pushlightuserdata(lua, &program);
    MUST(call(lua, build, 1, 1));
    try_table(lua);
    lua_settop(lua, 0);
    (void)lua_gc(lua, LUA_GCSTEP, 100);
    return 0;
}
