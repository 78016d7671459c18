/* Lua values to AMQP field tables and message properties, and back, for the module `amqp`.
 *
 * amqp.c is the only file that includes it: a Lua module of the specs is one translation unit. Strings are
 * borrowed from the Lua tables that hold them; what else must be allocated comes from the caller's pool. What
 * cannot be encoded raises a Lua error. An `index` is absolute. */
#ifndef SUPPORT_AMQP_FIELDS_H
#define SUPPORT_AMQP_FIELDS_H

#include <amqp.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORT_STRING_MAX = 255, /* names, routing keys and most properties are AMQP short strings */
    DEPTH_MAX = 1000,       /* of tables in tables; each level takes some C stack */
};

#define FIELD_TYPE        "moonrabbit.spec.amqp.field"
#define EXACT_IN_DOUBLE   9007199254740992.0 /* 2^53: above it not every integer is a double */
#define INT64_END_DOUBLE  9223372036854775808.0
#define UINT64_END_DOUBLE 18446744073709551616.0

enum property_kind { PROPERTY_TEXT, PROPERTY_OCTET, PROPERTY_TIME, PROPERTY_TABLE };

#define PROPERTY(name) #name, offsetof(amqp_basic_properties_t, name)

static const struct property {
    const char *name;
    size_t offset;
    amqp_flags_t flag;
    enum property_kind kind;
} basic_properties[] = {
    { PROPERTY(content_type), AMQP_BASIC_CONTENT_TYPE_FLAG, PROPERTY_TEXT },
    { PROPERTY(content_encoding), AMQP_BASIC_CONTENT_ENCODING_FLAG, PROPERTY_TEXT },
    { PROPERTY(headers), AMQP_BASIC_HEADERS_FLAG, PROPERTY_TABLE },
    { PROPERTY(delivery_mode), AMQP_BASIC_DELIVERY_MODE_FLAG, PROPERTY_OCTET },
    { PROPERTY(priority), AMQP_BASIC_PRIORITY_FLAG, PROPERTY_OCTET },
    { PROPERTY(correlation_id), AMQP_BASIC_CORRELATION_ID_FLAG, PROPERTY_TEXT },
    { PROPERTY(reply_to), AMQP_BASIC_REPLY_TO_FLAG, PROPERTY_TEXT },
    { PROPERTY(expiration), AMQP_BASIC_EXPIRATION_FLAG, PROPERTY_TEXT },
    { PROPERTY(message_id), AMQP_BASIC_MESSAGE_ID_FLAG, PROPERTY_TEXT },
    { PROPERTY(timestamp), AMQP_BASIC_TIMESTAMP_FLAG, PROPERTY_TIME },
    { PROPERTY(type), AMQP_BASIC_TYPE_FLAG, PROPERTY_TEXT },
    { PROPERTY(user_id), AMQP_BASIC_USER_ID_FLAG, PROPERTY_TEXT },
    { PROPERTY(app_id), AMQP_BASIC_APP_ID_FLAG, PROPERTY_TEXT },
    { PROPERTY(cluster_id), AMQP_BASIC_CLUSTER_ID_FLAG, PROPERTY_TEXT },
};

enum { PROPERTY_COUNT = sizeof basic_properties / sizeof basic_properties[0] };

/* Numbers are refused: made a string in passing, they would not be held by their table. */
static amqp_bytes_t check_text(lua_State *L, int index, const char *what)
{
    amqp_bytes_t text = amqp_empty_bytes;
    if (lua_type(L, index) != LUA_TSTRING) {
        luaL_error(L, "%s is a string, not %s", what, luaL_typename(L, index));
    }
    text.bytes = (void *)(uintptr_t)lua_tolstring(L, index, &text.len);
    return text;
}

static amqp_bytes_t check_short_text(lua_State *L, int index, const char *what)
{
    amqp_bytes_t text = check_text(L, index, what);
    if (text.len > SHORT_STRING_MAX) {
        luaL_error(L, "%s is longer than %d bytes", what, SHORT_STRING_MAX);
    }
    return text;
}

static lua_Number check_number(lua_State *L, int index, const char *what)
{
    if (!lua_isnumber(L, index)) {
        luaL_error(L, "%s is a number, not %s", what, luaL_typename(L, index));
    }
    return lua_tonumber(L, index);
}

/* A number, or a string of decimal digits for what a double cannot hold exactly. */
static int64_t check_signed(lua_State *L, int index, int64_t min, int64_t max)
{
    int64_t integer = 0;
    bool valid = false;
    if (lua_type(L, index) == LUA_TSTRING) {
        char *end = NULL;
        const char *text = lua_tostring(L, index);
        errno = 0;
        integer = strtoll(text, &end, 10);
        valid = errno == 0 && end != text && *end == '\0';
    } else {
        lua_Number number = check_number(L, index, "a signed field");
        if (number >= -INT64_END_DOUBLE && number < INT64_END_DOUBLE) {
            integer = (int64_t)number;
            valid = (lua_Number)integer == number;
        }
    }
    if (!valid || integer < min || integer > max) {
        luaL_error(L, "the value of a signed field is not an integer, or outside its range");
    }
    return integer;
}

static uint64_t check_unsigned(lua_State *L, int index, uint64_t max)
{
    uint64_t integer = 0;
    bool valid = false;
    if (lua_type(L, index) == LUA_TSTRING) {
        char *end = NULL;
        const char *text = lua_tostring(L, index);
        errno = 0;
        integer = strtoull(text, &end, 10);
        valid = errno == 0 && end != text && *end == '\0' && !strchr(text, '-');
    } else {
        lua_Number number = check_number(L, index, "an unsigned field");
        if (number >= 0 && number < UINT64_END_DOUBLE) {
            integer = (uint64_t)number;
            valid = (lua_Number)integer == number;
        }
    }
    if (!valid || integer > max) {
        luaL_error(L, "the value of an unsigned field is not an integer, or outside its range");
    }
    return integer;
}

/* Where fields are built: memory that the connection owns, and how deep in tables we are. */
struct encoder {
    amqp_pool_t *pool;
    int depth;
};

static void encode_value(lua_State *L, struct encoder *encoder, int index, amqp_field_value_t *field);

static void *encoder_alloc(lua_State *L, struct encoder *encoder, int count, size_t size)
{
    if (count == 0) {
        return NULL;
    }
    void *memory = amqp_pool_alloc(encoder->pool, (size_t)count * size);
    if (!memory) {
        luaL_error(L, "no memory for a table of %d fields", count);
    }
    return memory;
}

static void encoder_descend(lua_State *L, struct encoder *encoder)
{
    luaL_checkstack(L, 8, "fields nested too deep");
    if (++encoder->depth > DEPTH_MAX) {
        luaL_error(L, "fields are nested deeper than %d", DEPTH_MAX);
    }
}

static int table_count(lua_State *L, int index)
{
    int count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        count++;
    }
    return count;
}

static bool table_is_array(lua_State *L, int index)
{
    int length = (int)lua_objlen(L, index);
    if (length == 0 || table_count(L, index) != length) {
        return false;
    }
    for (int i = 1; i <= length; i++) {
        lua_rawgeti(L, index, i);
        bool hole = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (hole) {
            return false;
        }
    }
    return true;
}

static amqp_table_t encode_table(lua_State *L, struct encoder *encoder, int index)
{
    encoder_descend(L, encoder);
    int count = table_count(L, index);
    amqp_table_entry_t *entries = encoder_alloc(L, encoder, count, sizeof *entries);
    amqp_table_entry_t *entry = entries;

    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "the name of a field is a string, not %s", luaL_typename(L, -2));
        }
        entry->key = check_short_text(L, -2, "the name of a field");
        encode_value(L, encoder, lua_gettop(L), &entry->value);
        lua_pop(L, 1);
        entry++;
    }
    encoder->depth--;
    return (amqp_table_t){ .num_entries = count, .entries = entries };
}

static amqp_array_t encode_array(lua_State *L, struct encoder *encoder, int index)
{
    encoder_descend(L, encoder);
    int count = (int)lua_objlen(L, index);
    amqp_field_value_t *entries = encoder_alloc(L, encoder, count, sizeof *entries);

    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, index, i + 1);
        encode_value(L, encoder, lua_gettop(L), &entries[i]);
        lua_pop(L, 1);
    }
    encoder->depth--;
    return (amqp_array_t){ .num_entries = count, .entries = entries };
}

/* False when the field's type is no kind of integer. */
static bool encode_integer(lua_State *L, int index, amqp_field_value_t *field)
{
    switch (field->kind) {
    case AMQP_FIELD_KIND_I8:
        field->value.i8 = (int8_t)check_signed(L, index, INT8_MIN, INT8_MAX);
        return true;
    case AMQP_FIELD_KIND_U8:
        field->value.u8 = (uint8_t)check_unsigned(L, index, UINT8_MAX);
        return true;
    case AMQP_FIELD_KIND_I16:
        field->value.i16 = (int16_t)check_signed(L, index, INT16_MIN, INT16_MAX);
        return true;
    case AMQP_FIELD_KIND_U16:
        field->value.u16 = (uint16_t)check_unsigned(L, index, UINT16_MAX);
        return true;
    case AMQP_FIELD_KIND_I32:
        field->value.i32 = (int32_t)check_signed(L, index, INT32_MIN, INT32_MAX);
        return true;
    case AMQP_FIELD_KIND_U32:
        field->value.u32 = (uint32_t)check_unsigned(L, index, UINT32_MAX);
        return true;
    case AMQP_FIELD_KIND_I64:
        field->value.i64 = check_signed(L, index, INT64_MIN, INT64_MAX);
        return true;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        field->value.u64 = check_unsigned(L, index, UINT64_MAX);
        return true;
    default:
        return false;
    }
}

static amqp_decimal_t encode_decimal(lua_State *L, int index)
{
    amqp_decimal_t decimal;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_rawgeti(L, index, 1);
    lua_rawgeti(L, index, 2);
    decimal.decimals = (uint8_t)check_unsigned(L, -2, UINT8_MAX);
    decimal.value = (uint32_t)check_unsigned(L, -1, UINT32_MAX);
    lua_pop(L, 2);
    return decimal;
}

static void encode_other(lua_State *L, struct encoder *encoder, int index, amqp_field_value_t *field)
{
    switch (field->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        field->value.boolean = lua_toboolean(L, index);
        break;
    case AMQP_FIELD_KIND_F32:
        field->value.f32 = (float)check_number(L, index, "a float field");
        break;
    case AMQP_FIELD_KIND_F64:
        field->value.f64 = check_number(L, index, "a double field");
        break;
    case AMQP_FIELD_KIND_DECIMAL:
        field->value.decimal = encode_decimal(L, index);
        break;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        field->value.bytes = check_text(L, index, "a string field");
        break;
    case AMQP_FIELD_KIND_TABLE:
        luaL_checktype(L, index, LUA_TTABLE);
        field->value.table = encode_table(L, encoder, index);
        break;
    case AMQP_FIELD_KIND_ARRAY:
        luaL_checktype(L, index, LUA_TTABLE);
        field->value.array = encode_array(L, encoder, index);
        break;
    default: /* AMQP_FIELD_KIND_VOID: module_field makes no other */
        break;
    }
}

static bool is_field(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) {
        return false;
    }
    luaL_getmetatable(L, FIELD_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static void encode_typed(lua_State *L, struct encoder *encoder, int index, amqp_field_value_t *field)
{
    lua_getfield(L, index, "type");
    lua_getfield(L, index, "value");
    field->kind = (uint8_t)*luaL_checkstring(L, -2);
    if (!encode_integer(L, lua_gettop(L), field)) {
        encode_other(L, encoder, lua_gettop(L), field);
    }
    lua_pop(L, 2);
}

static void encode_plain_number(lua_State *L, int index, amqp_field_value_t *field)
{
    lua_Number number = lua_tonumber(L, index);
    bool fits = number >= -INT64_END_DOUBLE && number < INT64_END_DOUBLE;
    if (fits && (lua_Number)(int64_t)number == number) {
        field->kind = AMQP_FIELD_KIND_I64;
        field->value.i64 = (int64_t)number;
    } else {
        field->kind = AMQP_FIELD_KIND_F64;
        field->value.f64 = number;
    }
}

static void encode_value(lua_State *L, struct encoder *encoder, int index, amqp_field_value_t *field)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        encode_plain_number(L, index, field);
        return;
    case LUA_TBOOLEAN:
        field->kind = AMQP_FIELD_KIND_BOOLEAN;
        break;
    case LUA_TSTRING:
        field->kind = AMQP_FIELD_KIND_UTF8;
        break;
    case LUA_TLIGHTUSERDATA: /* amqp.null */
        field->kind = AMQP_FIELD_KIND_VOID;
        break;
    case LUA_TTABLE:
        if (is_field(L, index)) {
            encode_typed(L, encoder, index, field);
            return;
        }
        field->kind = table_is_array(L, index) ? AMQP_FIELD_KIND_ARRAY : AMQP_FIELD_KIND_TABLE;
        break;
    default:
        luaL_error(L, "a %s has no AMQP field", luaL_typename(L, index));
    }
    encode_other(L, encoder, index, field);
}

/* amqp.field(type, value) -> a value of exactly this AMQP type, for headers and arguments */
static int module_field(lua_State *L)
{
    const char *type = luaL_checkstring(L, 1);
    luaL_argcheck(L, strlen(type) == 1 && strchr("tbBsuIilLfdDSxTFAV", *type), 1,
                  "one of the letters t b B s u I i l L f d D S x T F A V");
    lua_settop(L, 2);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "type");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "value");
    luaL_setmetatable(L, FIELD_TYPE);
    return 1;
}

static const struct property *property_find(const char *name)
{
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if (strcmp(basic_properties[i].name, name) == 0) {
            return &basic_properties[i];
        }
    }
    return NULL;
}

static void encode_property(lua_State *L, struct encoder *encoder, const struct property *property,
                            amqp_basic_properties_t *properties)
{
    int index = lua_gettop(L);
    void *place = (char *)properties + property->offset;
    switch (property->kind) {
    case PROPERTY_TEXT:
        *(amqp_bytes_t *)place = check_short_text(L, index, property->name);
        break;
    case PROPERTY_OCTET:
        *(uint8_t *)place = (uint8_t)check_unsigned(L, index, UINT8_MAX);
        break;
    case PROPERTY_TIME:
        *(uint64_t *)place = check_unsigned(L, index, UINT64_MAX);
        break;
    case PROPERTY_TABLE:
        luaL_checktype(L, index, LUA_TTABLE);
        *(amqp_table_t *)place = encode_table(L, encoder, index);
        break;
    }
    properties->_flags |= property->flag;
}

/* A table at `index`, or nothing there. */
static amqp_basic_properties_t check_properties(lua_State *L, amqp_pool_t *pool, int index)
{
    struct encoder encoder = { .pool = pool };
    amqp_basic_properties_t properties;
    memset(&properties, 0, sizeof properties);
    if (lua_isnoneornil(L, index)) {
        return properties;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const struct property *property = property_find(name);
        if (property) {
            encode_property(L, &encoder, property, &properties);
        } else {
            luaL_error(L, "there is no basic property '%s'", name);
        }
        lua_pop(L, 1);
    }
    return properties;
}

static void push_field(lua_State *L, const amqp_field_value_t *field, bool typed);

static void push_bytes(lua_State *L, amqp_bytes_t bytes)
{
    lua_pushlstring(L, bytes.bytes ? bytes.bytes : "", bytes.len);
}

/* A number where it is exact, else its decimal digits. */
static void push_signed(lua_State *L, int64_t integer)
{
    char digits[24];
    if ((lua_Number)integer >= -EXACT_IN_DOUBLE && (lua_Number)integer <= EXACT_IN_DOUBLE) {
        lua_pushnumber(L, (lua_Number)integer);
        return;
    }
    snprintf(digits, sizeof digits, "%lld", (long long)integer);
    lua_pushstring(L, digits);
}

static void push_unsigned(lua_State *L, uint64_t integer)
{
    char digits[24];
    if (integer <= INT64_MAX) {
        push_signed(L, (int64_t)integer);
        return;
    }
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)integer);
    lua_pushstring(L, digits);
}

static void push_table(lua_State *L, const amqp_table_t *table, bool typed)
{
    luaL_checkstack(L, 8, "fields nested too deep");
    lua_createtable(L, 0, table->num_entries);
    for (int i = 0; i < table->num_entries; i++) {
        push_bytes(L, table->entries[i].key);
        push_field(L, &table->entries[i].value, typed);
        lua_rawset(L, -3);
    }
}

static void push_array(lua_State *L, const amqp_array_t *array, bool typed)
{
    luaL_checkstack(L, 8, "fields nested too deep");
    lua_createtable(L, array->num_entries, 0);
    for (int i = 0; i < array->num_entries; i++) {
        push_field(L, &array->entries[i], typed);
        lua_rawseti(L, -2, i + 1);
    }
}

static void push_decimal(lua_State *L, amqp_decimal_t decimal, bool typed)
{
    if (typed) {
        lua_createtable(L, 2, 0);
        lua_pushinteger(L, decimal.decimals);
        lua_rawseti(L, -2, 1);
        lua_pushnumber(L, decimal.value);
        lua_rawseti(L, -2, 2);
        return;
    }
    lua_Number number = decimal.value;
    for (int i = 0; i < decimal.decimals; i++) {
        number /= 10;
    }
    lua_pushnumber(L, number);
}

/* False when the field is no kind of integer. */
static bool push_integer(lua_State *L, const amqp_field_value_t *field)
{
    switch (field->kind) {
    case AMQP_FIELD_KIND_I8:
        lua_pushinteger(L, field->value.i8);
        return true;
    case AMQP_FIELD_KIND_U8:
        lua_pushinteger(L, field->value.u8);
        return true;
    case AMQP_FIELD_KIND_I16:
        lua_pushinteger(L, field->value.i16);
        return true;
    case AMQP_FIELD_KIND_U16:
        lua_pushinteger(L, field->value.u16);
        return true;
    case AMQP_FIELD_KIND_I32:
        lua_pushinteger(L, field->value.i32);
        return true;
    case AMQP_FIELD_KIND_U32:
        push_unsigned(L, field->value.u32);
        return true;
    case AMQP_FIELD_KIND_I64:
        push_signed(L, field->value.i64);
        return true;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        push_unsigned(L, field->value.u64);
        return true;
    default:
        return false;
    }
}

static void push_other(lua_State *L, const amqp_field_value_t *field, bool typed)
{
    switch (field->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        lua_pushboolean(L, field->value.boolean);
        break;
    case AMQP_FIELD_KIND_F32:
        lua_pushnumber(L, field->value.f32);
        break;
    case AMQP_FIELD_KIND_F64:
        lua_pushnumber(L, field->value.f64);
        break;
    case AMQP_FIELD_KIND_DECIMAL:
        push_decimal(L, field->value.decimal, typed);
        break;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        push_bytes(L, field->value.bytes);
        break;
    case AMQP_FIELD_KIND_TABLE:
        push_table(L, &field->value.table, typed);
        break;
    case AMQP_FIELD_KIND_ARRAY:
        push_array(L, &field->value.array, typed);
        break;
    default: /* AMQP_FIELD_KIND_VOID: the library decodes no other */
        lua_pushlightuserdata(L, NULL);
        break;
    }
}

/* A plain value; or, typed, what amqp.field makes, so that a spec can tell one AMQP type from another. */
static void push_field(lua_State *L, const amqp_field_value_t *field, bool typed)
{
    if (typed) {
        lua_createtable(L, 0, 2);
        lua_pushlstring(L, (const char *)&field->kind, 1);
        lua_setfield(L, -2, "type");
        luaL_setmetatable(L, FIELD_TYPE);
    }
    if (!push_integer(L, field)) {
        push_other(L, field, typed);
    }
    if (typed) {
        lua_setfield(L, -2, "value");
    }
}

static void push_properties(lua_State *L, const amqp_basic_properties_t *properties, bool typed)
{
    lua_newtable(L);
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        const struct property *property = &basic_properties[i];
        const void *place = (const char *)properties + property->offset;
        if (!(properties->_flags & property->flag)) {
            continue;
        }
        switch (property->kind) {
        case PROPERTY_TEXT:
            push_bytes(L, *(const amqp_bytes_t *)place);
            break;
        case PROPERTY_OCTET:
            lua_pushinteger(L, *(const uint8_t *)place);
            break;
        case PROPERTY_TIME:
            push_unsigned(L, *(const uint64_t *)place);
            break;
        case PROPERTY_TABLE:
            push_table(L, place, typed);
            break;
        }
        lua_setfield(L, -2, property->name);
    }
}

#endif
