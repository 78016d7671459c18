/* Packing and unpacking of Lua values; see pack.h.
 *
 * A value is a tag and what the tag asks for, in the machine's own byte order: the bytes never leave it.
 * A table's values under 1, 2, 3 … come first, as far as they come in this order, then the other pairs. */
#include "worker/pack.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum tag {
    TAG_NULL = 1,
    TAG_FALSE,
    TAG_TRUE,
    TAG_INTEGER, /* int32_t */
    TAG_NUMBER,  /* double */
    TAG_SHORT,   /* uint8_t length, bytes */
    TAG_STRING,  /* uint32_t length, bytes */
    TAG_TABLE,   /* struct counts, values, pairs of key and value */
};

/* What a table holds, also as a hint how large to make it. */
struct counts {
    uint32_t values; /* under 1, 2, 3 … */
    uint32_t pairs;
};

/* Writing */

struct writer {
    struct scratch *scratch;
    lua_State *lua;
    size_t most;
    const void *path[PACK_DEPTH_MAX]; /* the tables that the one at hand is in */
    int depth;
    char *problem; /* PACK_PROBLEM_BYTES */
};

static bool refuse(struct writer *writer, const char *what, const char *why)
{
    (void)snprintf(writer->problem, PACK_PROBLEM_BYTES, "%s %s", what, why);
    return false;
}

/* Room for so many bytes more. */
static bool reserve(struct writer *writer, size_t bytes)
{
    struct scratch *scratch = writer->scratch;
    if (bytes > writer->most || scratch->size > writer->most - bytes)
        return refuse(writer, "the value", "is too large");
    if (bytes <= scratch->capacity - scratch->size)
        return true;
    size_t wanted = scratch->size + bytes;
    size_t doubled = scratch->capacity < writer->most / 2 ? 2 * scratch->capacity : writer->most;
    scratch_grow(scratch, wanted > doubled ? wanted : doubled);
    return true;
}

/* After reserve. */
static void append(struct writer *writer, const void *bytes, size_t size)
{
    struct scratch *scratch = writer->scratch;
    memcpy(scratch->data + scratch->size, bytes, size);
    scratch->size += size;
}

static bool append_tagged(struct writer *writer, enum tag tag, const void *bytes, size_t size)
{
    const char byte = (char)tag;
    if (!reserve(writer, 1 + size))
        return false;
    append(writer, &byte, 1);
    if (size > 0)
        append(writer, bytes, size);
    return true;
}

static bool write_number(struct writer *writer, double number)
{
    bool small = number >= INT32_MIN && number <= INT32_MAX && !(number == 0 && signbit(number));
    int32_t integer = small ? (int32_t)number : 0;
    if (small && (double)integer == number)
        return append_tagged(writer, TAG_INTEGER, &integer, sizeof integer);
    return append_tagged(writer, TAG_NUMBER, &number, sizeof number);
}

static bool write_string(struct writer *writer, int index)
{
    size_t size;
    const char *bytes = lua_tolstring(writer->lua, index, &size);
    if (size > UINT32_MAX)
        return refuse(writer, "the value", "is too large");
    const uint8_t length = (uint8_t)size;
    const uint32_t long_length = (uint32_t)size;
    bool told = size <= UINT8_MAX ? append_tagged(writer, TAG_SHORT, &length, sizeof length)
                                  : append_tagged(writer, TAG_STRING, &long_length, sizeof long_length);
    if (!told || !reserve(writer, size))
        return false;
    append(writer, bytes, size);
    return true;
}

static bool enter(struct writer *writer, int index)
{
    const void *table = lua_topointer(writer->lua, index);
    for (int i = 0; i < writer->depth; i++) {
        if (writer->path[i] == table)
            return refuse(writer, "a table that contains itself", "cannot be kept");
    }
    if (writer->depth == PACK_DEPTH_MAX || !lua_checkstack(writer->lua, 4))
        return refuse(writer, "tables more than 100 deep", "cannot be kept");
    writer->path[writer->depth++] = table;
    return true;
}

static bool write_value(struct writer *writer, int index);

static bool is_next(lua_State *lua, int index, uint32_t number)
{
    return lua_type(lua, index) == LUA_TNUMBER && lua_tonumber(lua, index) == (double)number;
}

/* Stack at the top: key, value. Pairs follow the values for good once the first of them is written. */
static bool write_pair(struct writer *writer, struct counts *counts)
{
    int value = lua_gettop(writer->lua);
    if (counts->values == UINT32_MAX || counts->pairs == UINT32_MAX)
        return refuse(writer, "the value", "is too large");
    if (counts->pairs == 0 && is_next(writer->lua, value - 1, counts->values + 1)) {
        counts->values++;
        return write_value(writer, value);
    }
    counts->pairs++;
    if (lua_type(writer->lua, value - 1) == LUA_TTABLE)
        return refuse(writer, "a table as a key", "cannot be kept");
    return write_value(writer, value - 1) && write_value(writer, value);
}

static bool write_table(struct writer *writer, int index)
{
    struct counts counts = { 0 };
    if (!enter(writer, index) || !append_tagged(writer, TAG_TABLE, &counts, sizeof counts))
        return false;
    size_t place = writer->scratch->size - sizeof counts;
    lua_pushnil(writer->lua);
    for (; lua_next(writer->lua, index); lua_pop(writer->lua, 1)) {
        if (!write_pair(writer, &counts))
            return false;
    }
    memcpy(writer->scratch->data + place, &counts, sizeof counts);
    writer->depth--;
    return true;
}

static bool write_value(struct writer *writer, int index)
{
    switch (lua_type(writer->lua, index)) {
    case LUA_TBOOLEAN:
        return append_tagged(writer, lua_toboolean(writer->lua, index) ? TAG_TRUE : TAG_FALSE, NULL, 0);
    case LUA_TNUMBER:
        return write_number(writer, lua_tonumber(writer->lua, index));
    case LUA_TSTRING:
        return write_string(writer, index);
    case LUA_TTABLE:
        return write_table(writer, index);
    case LUA_TLIGHTUSERDATA: /* cjson.null; scripts meet no other */
        if (!lua_touserdata(writer->lua, index))
            return append_tagged(writer, TAG_NULL, NULL, 0);
        break;
    default:
        break;
    }
    return refuse(writer, lua_typename(writer->lua, lua_type(writer->lua, index)), "cannot be kept");
}

bool pack_write(struct scratch *scratch, int index, size_t most, char problem[PACK_PROBLEM_BYTES])
{
    struct writer writer = { .scratch = scratch, .lua = scratch->lua, .most = most, .problem = problem };
    int top = lua_gettop(scratch->lua);
    bool written = write_value(&writer, index);
    lua_settop(scratch->lua, top);
    return written;
}

/* Reading */

struct reader {
    lua_State *lua;
    struct slice rest;
    size_t budget; /* values that tables may still announce: each takes a byte at least */
    int depth;
};

static bool take(struct reader *reader, void *to, size_t size)
{
    if (size > reader->rest.size)
        return false;
    memcpy(to, reader->rest.data, size);
    reader->rest.data += size;
    reader->rest.size -= size;
    return true;
}

static bool read_string(struct reader *reader, size_t size)
{
    if (size > reader->rest.size)
        return false;
    lua_pushlstring(reader->lua, reader->rest.data, size);
    reader->rest.data += size;
    reader->rest.size -= size;
    return true;
}

static bool read_value(struct reader *reader);

/* Nothing else is a key that pack_write wrote; lua_rawset would raise for NaN. */
static bool is_key(lua_State *lua)
{
    int type = lua_type(lua, -1);
    if (type == LUA_TNUMBER)
        return !isnan(lua_tonumber(lua, -1));
    return type == LUA_TSTRING || type == LUA_TBOOLEAN || type == LUA_TLIGHTUSERDATA;
}

static bool read_members(struct reader *reader, const struct counts *counts)
{
    for (uint32_t i = 1; i <= counts->values; i++) {
        if (!read_value(reader))
            return false;
        lua_rawseti(reader->lua, -2, (int)i);
    }
    for (uint32_t i = 0; i < counts->pairs; i++) {
        if (!read_value(reader) || !is_key(reader->lua) || !read_value(reader))
            return false;
        lua_rawset(reader->lua, -3);
    }
    return true;
}

static bool read_table(struct reader *reader)
{
    struct counts counts;
    if (reader->depth == PACK_DEPTH_MAX || !lua_checkstack(reader->lua, 4) ||
        !take(reader, &counts, sizeof counts))
        return false;
    const uint64_t announced = (uint64_t)counts.values + 2 * (uint64_t)counts.pairs;
    if (announced > reader->budget)
        return false;
    reader->budget -= (size_t)announced;
    lua_createtable(reader->lua, (int)counts.values, (int)counts.pairs);
    reader->depth++;
    bool read = read_members(reader, &counts);
    reader->depth--;
    return read;
}

static bool read_number(struct reader *reader, enum tag tag)
{
    double number;
    int32_t integer;
    if (tag == TAG_INTEGER ? !take(reader, &integer, sizeof integer) : !take(reader, &number, sizeof number))
        return false;
    /* Of a NaN lua_pushnumber keeps no bits: in LuaJIT they would be another type's value. */
    lua_pushnumber(reader->lua, tag == TAG_INTEGER ? (double)integer : number);
    return true;
}

static bool read_value(struct reader *reader)
{
    uint8_t tag, length;
    uint32_t long_length;
    if (!take(reader, &tag, sizeof tag))
        return false;
    switch (tag) {
    case TAG_NULL:
        lua_pushlightuserdata(reader->lua, NULL);
        return true;
    case TAG_FALSE:
    case TAG_TRUE:
        lua_pushboolean(reader->lua, tag == TAG_TRUE);
        return true;
    case TAG_INTEGER:
    case TAG_NUMBER:
        return read_number(reader, (enum tag)tag);
    case TAG_SHORT:
        return take(reader, &length, sizeof length) && read_string(reader, length);
    case TAG_STRING:
        return take(reader, &long_length, sizeof long_length) && read_string(reader, long_length);
    case TAG_TABLE:
        return read_table(reader);
    default:
        return false;
    }
}

bool pack_read(lua_State *lua, struct slice bytes)
{
    struct reader reader = { .lua = lua, .rest = bytes, .budget = bytes.size };
    int top = lua_gettop(lua);
    if (bytes.size <= INT32_MAX && read_value(&reader) && reader.rest.size == 0)
        return true;
    lua_settop(lua, top);
    return false;
}
