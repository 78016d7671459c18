/* The cache module of handlers; see lua_cache.h. */
#include "worker/lua_cache.h"

#include "common/cache.h"
#include "common/clock.h"
#include "common/units.h"
#include "worker/pack.h"
#include "worker/scratch.h"
#include "worker/value.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>

enum {
    KEYS_USUAL = 1024, /* cache.keys() without a number */
    KEY_HEAD_BYTES = 2,
    READ_TRIES = 8, /* should others put ever larger values under the key that is being read */
};

#define WHOLE_MAX 9007199254740992.0 /* 2^53: up to here every whole number is a double of its own */

/* The functions' only upvalue: the part of the cache that they work on. */
struct space {
    struct cache cache;
    const struct fetching *under_way; /* what fetch is at, innermost first */
};

/* A key that fetch calls the script's function for. */
struct fetching {
    struct slice key;
    const struct fetching *outer;
};

struct key {
    struct slice bytes; /* the script's string, or `digits` */
    char digits[VALUE_NUMBER_BYTES];
};

static struct space *space_of(lua_State *lua)
{
    return lua_touserdata(lua, lua_upvalueindex(1));
}

/* Answers */

static int refuse(lua_State *lua, const char *reason)
{
    lua_pushnil(lua);
    lua_pushstring(lua, reason);
    return 2;
}

static int refuse_key(lua_State *lua, const struct key *key)
{
    lua_pushnil(lua);
    lua_pushfstring(lua, "the key has %d bytes: at most %d are possible", (int)key->bytes.size,
                    CACHE_KEY_MAX);
    return 2;
}

static int refuse_size(lua_State *lua, const struct cache *cache)
{
    char most[UNITS_TEXT_MAX];
    lua_pushnil(lua);
    lua_pushfstring(lua, "the value is too large: key and value can have %s together (cache.memory)",
                    units_format_size((int64_t)cache_room(cache), most));
    return 2;
}

/* nil and why the cache would not. */
static int refuse_result(lua_State *lua, const struct cache *cache, enum cache_result result)
{
    switch (result) {
    case CACHE_NOT_FOUND:
        return refuse(lua, "not found");
    case CACHE_NOT_A_NUMBER:
        return refuse(lua, "not a number");
    case CACHE_TOO_LARGE:
        return refuse_size(lua, cache);
    default:
        return refuse(lua, "busy: the process that is at this part of the cache has been stopped");
    }
}

/* true where it was done, false where the key is not there. */
static int answer(lua_State *lua, const struct cache *cache, enum cache_result result)
{
    if (result != CACHE_OK && result != CACHE_NOT_FOUND)
        return refuse_result(lua, cache, result);
    lua_pushboolean(lua, result == CACHE_OK);
    return 1;
}

/* Arguments */

static int argument_error(lua_State *lua, int index, const char *wanted)
{
    const char *got = luaL_typename(lua, index);
    return luaL_argerror(lua, index, lua_pushfstring(lua, "%s, got %s", wanted, got));
}

/* False where the key is too long to be in any cache: refuse_key says so. */
static bool read_key(lua_State *lua, struct key *key)
{
    int type = lua_type(lua, 1);
    if (type == LUA_TSTRING) {
        key->bytes.data = lua_tolstring(lua, 1, &key->bytes.size);
        return key->bytes.size <= CACHE_KEY_MAX;
    }
    double number = type == LUA_TNUMBER ? lua_tonumber(lua, 1) : 0.5;
    if (!(fabs(number) <= WHOLE_MAX && number == floor(number)))
        (void)argument_error(lua, 1, "the key must be a string or a whole number up to 2^53");
    key->bytes.size = value_format_number(number + 0.0, key->digits); /* -0 is 0 */
    key->bytes.data = key->digits;
    return true;
}

/* False where it is no time that an entry could live. */
static bool read_ttl(lua_State *lua, int index, const struct space *space, int64_t *ret_ttl_ns)
{
    const char *text;
    size_t size;
    switch (lua_type(lua, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
        *ret_ttl_ns = cache_default_ttl_ns(&space->cache);
        return true;
    case LUA_TNUMBER:
        return units_from_seconds(lua_tonumber(lua, index), ret_ttl_ns) && *ret_ttl_ns > 0;
    case LUA_TSTRING:
        text = lua_tolstring(lua, index, &size);
        return units_parse_duration(text, size, ret_ttl_ns) && *ret_ttl_ns > 0;
    default:
        (void)argument_error(lua, index, "the ttl must be seconds or a time like \"90s\"");
        return false;
    }
}

static int refuse_ttl(lua_State *lua)
{
    return refuse(lua, "the ttl must be more than 0: seconds, or a time like \"90s\"");
}

/* Values */

/* A value on its way into the cache. */
struct packed {
    enum cache_type type;
    struct slice bytes; /* the script's string, `plain`, or the scratch's */
    double plain;
    char problem[PACK_PROBLEM_BYTES];
};

static void pack_plain(struct packed *packed, enum cache_type type, size_t size)
{
    packed->type = type;
    packed->bytes.data = (const char *)&packed->plain;
    packed->bytes.size = size;
}

/* False with the problem where it cannot be kept. */
static bool pack(lua_State *lua, int index, const struct space *space, struct scratch *scratch,
                 struct packed *packed)
{
    switch (lua_type(lua, index)) {
    case LUA_TSTRING:
        packed->type = CACHE_STRING;
        packed->bytes.data = lua_tolstring(lua, index, &packed->bytes.size);
        return true;
    case LUA_TNUMBER:
        packed->plain = lua_tonumber(lua, index);
        pack_plain(packed, CACHE_NUMBER, sizeof packed->plain);
        return true;
    case LUA_TBOOLEAN:
        packed->plain = lua_toboolean(lua, index) ? 1 : 0;
        pack_plain(packed, CACHE_BOOLEAN, sizeof packed->plain);
        return true;
    default:
        scratch_init(scratch, lua);
        if (!pack_write(scratch, index, cache_room(&space->cache), packed->problem))
            return false;
        packed->type = CACHE_TABLE;
        packed->bytes.data = scratch->data;
        packed->bytes.size = scratch->size;
        return true;
    }
}

/* Pushes what the bytes stand for; false where they stand for nothing. */
static bool unpack(lua_State *lua, enum cache_type type, struct slice bytes)
{
    double plain;
    switch (type) {
    case CACHE_STRING:
        lua_pushlstring(lua, bytes.data, bytes.size);
        return true;
    case CACHE_NUMBER:
    case CACHE_BOOLEAN:
        if (bytes.size != sizeof plain)
            return false;
        memcpy(&plain, bytes.data, sizeof plain);
        if (type == CACHE_NUMBER)
            lua_pushnumber(lua, plain);
        else
            lua_pushboolean(lua, plain != 0);
        return true;
    case CACHE_TABLE:
        return pack_read(lua, bytes);
    default:
        return false;
    }
}

/* Reads into the scratch, which grows where the value has no room. */
static enum cache_result read_value(struct space *space, struct slice key, struct scratch *scratch,
                                    enum cache_type *ret_type)
{
    for (int tries = 0; tries < READ_TRIES; tries++) {
        struct buffer value = { .data = scratch->data, .capacity = scratch->capacity };
        size_t bytes;
        value.limit = scratch->capacity;
        enum cache_result result = cache_get(&space->cache, key, &value, ret_type);
        scratch->size = value.size;
        if (result != CACHE_NO_MEMORY)
            return result;
        result = cache_value_bytes(&space->cache, key, &bytes);
        if (result != CACHE_OK)
            return result;
        if (bytes <= cache_room(&space->cache))
            scratch_grow(scratch, bytes);
    }
    return CACHE_NOT_FOUND;
}

/* Pushes the value under the key where that is CACHE_OK. Bytes that are no value are removed. */
static enum cache_result push_value(lua_State *lua, struct space *space, struct slice key)
{
    enum cache_type type;
    struct scratch scratch;
    scratch_init(&scratch, lua);
    enum cache_result result = read_value(space, key, &scratch, &type);
    if (result != CACHE_OK)
        return result;
    if (unpack(lua, type, (struct slice){ .data = scratch.data, .size = scratch.size }))
        return CACHE_OK;
    (void)cache_delete(&space->cache, key);
    return CACHE_NOT_FOUND;
}

/* Puts the value at `value` under the key at 1: -> true | false, "exists" or "not found" | nil, reason */
static int put(lua_State *lua, enum cache_mode mode, int value, int ttl)
{
    struct space *space = space_of(lua);
    struct key key;
    struct packed packed;
    struct scratch scratch;
    int64_t ttl_ns;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    if (!read_ttl(lua, ttl, space, &ttl_ns))
        return refuse_ttl(lua);
    if (!pack(lua, value, space, &scratch, &packed))
        return refuse(lua, packed.problem);
    enum cache_result result = cache_put(&space->cache, mode, key.bytes, packed.type, packed.bytes, ttl_ns);
    if (result == CACHE_OK)
        return answer(lua, &space->cache, result);
    if (result != CACHE_EXISTS && result != CACHE_NOT_FOUND)
        return refuse_result(lua, &space->cache, result);
    lua_pushboolean(lua, false);
    lua_pushstring(lua, result == CACHE_EXISTS ? "exists" : "not found");
    return 2;
}

/* The functions */

/* cache.get(key) -> value | nil */
static int get(lua_State *lua)
{
    struct key key;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    struct space *space = space_of(lua);
    enum cache_result result = push_value(lua, space, key.bytes);
    if (result != CACHE_OK && result != CACHE_NOT_FOUND)
        return refuse_result(lua, &space->cache, result);
    if (result == CACHE_NOT_FOUND)
        lua_pushnil(lua);
    return 1;
}

/* cache.set(key, value [, ttl]) -> true | nil, reason */
static int set(lua_State *lua)
{
    return put(lua, CACHE_SET, 2, 3);
}

/* cache.add(key, value [, ttl]) -> true | false, "exists" | nil, reason */
static int add(lua_State *lua)
{
    return put(lua, CACHE_ADD, 2, 3);
}

/* cache.replace(key, value [, ttl]) -> true | false, "not found" | nil, reason */
static int replace(lua_State *lua)
{
    return put(lua, CACHE_REPLACE, 2, 3);
}

/* cache.incr(key [, by [, init [, ttl]]]) -> number | nil, reason */
static int incr(lua_State *lua)
{
    struct space *space = space_of(lua);
    struct key key;
    int64_t ttl_ns;
    double number;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    const double by = luaL_optnumber(lua, 2, 1);
    const double init = luaL_optnumber(lua, 3, 0);
    if (!read_ttl(lua, 4, space, &ttl_ns))
        return refuse_ttl(lua);
    const bool begins = !lua_isnoneornil(lua, 3);
    enum cache_result result =
        cache_increment(&space->cache, key.bytes, by, begins ? &init : NULL, ttl_ns, &number);
    if (result != CACHE_OK)
        return refuse_result(lua, &space->cache, result);
    lua_pushnumber(lua, number);
    return 1;
}

/* cache.has(key) -> whether it is there */
static int has(lua_State *lua)
{
    struct cache *cache = &space_of(lua)->cache;
    struct key key;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    return answer(lua, cache, cache_has(cache, key.bytes));
}

/* cache.delete(key) -> whether it was there */
static int delete_key(lua_State *lua)
{
    struct cache *cache = &space_of(lua)->cache;
    struct key key;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    return answer(lua, cache, cache_delete(cache, key.bytes));
}

/* cache.ttl(key) -> seconds | nil, "not found" */
static int ttl(lua_State *lua)
{
    struct space *space = space_of(lua);
    struct key key;
    int64_t ttl_ns;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    enum cache_result result = cache_ttl(&space->cache, key.bytes, &ttl_ns);
    if (result != CACHE_OK)
        return refuse_result(lua, &space->cache, result);
    lua_pushnumber(lua, (double)ttl_ns / (double)CLOCK_NS_PER_SECOND);
    return 1;
}

/* cache.expire(key [, ttl]) -> true | nil, reason */
static int expire(lua_State *lua)
{
    struct space *space = space_of(lua);
    struct key key;
    int64_t ttl_ns;
    if (!read_key(lua, &key))
        return refuse_key(lua, &key);
    if (!read_ttl(lua, 2, space, &ttl_ns))
        return refuse_ttl(lua);
    enum cache_result result = cache_expire(&space->cache, key.bytes, ttl_ns);
    return result == CACHE_OK ? answer(lua, &space->cache, result)
                              : refuse_result(lua, &space->cache, result);
}

/* cache.clear() */
static int clear(lua_State *lua)
{
    cache_clear(&space_of(lua)->cache, (struct slice){ .data = "", .size = 0 });
    return 0;
}

/* cache.size() -> entries */
static int size(lua_State *lua)
{
    struct cache_stats stats;
    cache_read_stats(&space_of(lua)->cache, &stats);
    lua_pushnumber(lua, (double)stats.entries);
    return 1;
}

/* cache.capacity() -> entries at the most */
static int capacity(lua_State *lua)
{
    struct cache_stats stats;
    cache_read_stats(&space_of(lua)->cache, &stats);
    lua_pushnumber(lua, (double)stats.capacity_entries);
    return 1;
}

/* How many keys are asked for; there are never more than the cache can hold. */
static size_t read_most(lua_State *lua, const struct cache *cache)
{
    const size_t all = cache->geometry.entries;
    double most = luaL_optnumber(lua, 1, KEYS_USUAL);
    if (!(most >= 0))
        (void)luaL_argerror(lua, 1, "the number of keys must be 0 or more");
    return most < (double)all ? (size_t)most : all;
}

/* Reads into the scratch as cache_keys writes them; the scratch grows until they have room. */
static void read_keys(struct cache *cache, size_t most, struct scratch *scratch)
{
    for (;;) {
        struct buffer keys = { .data = scratch->data, .capacity = scratch->capacity };
        keys.limit = scratch->capacity;
        enum cache_result result = cache_keys(cache, (struct slice){ .data = "", .size = 0 }, most, &keys);
        scratch->size = keys.size;
        if (result != CACHE_NO_MEMORY)
            return;
        scratch->size = 0;
        scratch_grow(scratch, 2 * scratch->capacity);
    }
}

/* cache.keys([max]) -> list of keys */
static int keys(lua_State *lua)
{
    struct space *space = space_of(lua);
    struct scratch scratch;
    size_t most = read_most(lua, &space->cache);
    scratch_init(&scratch, lua);
    read_keys(&space->cache, most, &scratch);
    lua_newtable(lua);
    const char *at = scratch.data, *end = scratch.data + scratch.size;
    for (int i = 1; end - at >= KEY_HEAD_BYTES; i++) {
        uint16_t bytes;
        memcpy(&bytes, at, sizeof bytes);
        at += sizeof bytes;
        lua_pushlstring(lua, at, bytes);
        lua_rawseti(lua, -2, i);
        at += bytes;
    }
    return 1;
}

static void set_number(lua_State *lua, const char *name, uint64_t value)
{
    lua_pushnumber(lua, (double)value);
    lua_setfield(lua, -2, name);
}

/* cache.stats() -> { entries, bytes, capacity, hits, misses, evictions, expired, resets } */
static int stats(lua_State *lua)
{
    struct cache_stats told;
    cache_read_stats(&space_of(lua)->cache, &told);
    lua_createtable(lua, 0, 8);
    set_number(lua, "entries", told.entries);
    set_number(lua, "bytes", told.bytes);
    set_number(lua, "capacity", told.capacity_entries);
    set_number(lua, "hits", told.hits);
    set_number(lua, "misses", told.misses);
    set_number(lua, "evictions", told.evictions);
    set_number(lua, "expired", told.expired);
    set_number(lua, "resets", told.resets);
    return 1;
}

static bool same_key(struct slice a, struct slice b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Calls the function at 3 -> its first result. It cannot yield across this, so that in one process no two
 * calls for a key are ever under way side by side, only one inside the other: that one is an error. */
static void make_value(lua_State *lua, struct space *space, struct slice key)
{
    const struct fetching fetching = { .key = key, .outer = space->under_way };
    for (const struct fetching *at = space->under_way; at; at = at->outer) {
        if (same_key(at->key, key))
            (void)luaL_error(lua, "cache.fetch: the function for '%s' fetches that key itself",
                             lua_tostring(lua, 1));
    }
    lua_pushvalue(lua, 3);
    space->under_way = &fetching;
    int failed = lua_pcall(lua, 0, 1, 0);
    space->under_way = fetching.outer;
    if (failed)
        (void)lua_error(lua);
}

/* cache.fetch(key, ttl, function) -> value [, why it is not kept] */
static int fetch(lua_State *lua)
{
    struct space *space = space_of(lua);
    struct key key;
    int64_t ttl_ns;
    bool fits = read_key(lua, &key);
    (void)read_ttl(lua, 2, space, &ttl_ns);
    if (lua_type(lua, 3) != LUA_TFUNCTION)
        (void)argument_error(lua, 3, "what makes the value must be a function");
    lua_settop(lua, 3);
    if (fits && push_value(lua, space, key.bytes) == CACHE_OK)
        return 1;
    make_value(lua, space, key.bytes);
    if (lua_isnil(lua, -1))
        return 1;
    int value = lua_gettop(lua);
    bool kept = put(lua, CACHE_SET, value, 2) == 1;
    lua_pushvalue(lua, value);
    if (kept)
        return 1;
    lua_pushvalue(lua, -2); /* the reason */
    return 2;
}

static const luaL_Reg functions[] = {
    { "get", get },   { "set", set },           { "add", add },   { "replace", replace }, { "incr", incr },
    { "has", has },   { "delete", delete_key }, { "ttl", ttl },   { "expire", expire },   { "clear", clear },
    { "size", size }, { "capacity", capacity }, { "keys", keys }, { "stats", stats },     { "fetch", fetch },
};

void lua_cache_push_functions(lua_State *lua, const struct cache *cache)
{
    struct space *space = lua_newuserdata(lua, sizeof *space);
    *space = (struct space){ .cache = *cache };
    int place = lua_gettop(lua);
    lua_createtable(lua, 0, sizeof functions / sizeof functions[0]);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        lua_pushvalue(lua, place);
        lua_pushcclosure(lua, functions[i].func, 1);
        lua_setfield(lua, -2, functions[i].name);
    }
    lua_replace(lua, place);
}

/* The bound in the options at 2; 0 where they name none. */
static size_t read_entries(lua_State *lua)
{
    if (lua_isnoneornil(lua, 2))
        return 0;
    if (lua_type(lua, 2) != LUA_TTABLE)
        (void)argument_error(lua, 2, "the options must be a table");
    lua_pushliteral(lua, "entries");
    lua_rawget(lua, 2);
    bool given = !lua_isnil(lua, -1);
    double entries = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : 0;
    lua_pop(lua, 1);
    if (given && !(entries >= 1 && entries <= UINT32_MAX && entries == floor(entries)))
        (void)luaL_argerror(lua, 2, "entries must be a whole number from 1 up");
    return (size_t)entries;
}

/* cache.space(name [, { entries = … }]) -> table of functions | nil, reason */
static int open_space(lua_State *lua)
{
    struct state *state = state_of(lua);
    struct cache cache;
    struct error error;
    struct slice name;
    if (lua_type(lua, 1) != LUA_TSTRING)
        (void)argument_error(lua, 1, "the name must be a string");
    name.data = lua_tolstring(lua, 1, &name.size);
    if (!cache_open_space(state->assignment->cache, name, read_entries(lua), &cache, &error))
        return refuse(lua, error.text);
    lua_cache_push_functions(lua, &cache);
    return 1;
}

void lua_cache_push(struct state *state, lua_State *lua)
{
    lua_cache_push_functions(lua, state->assignment->cache);
    state_push_function(state, lua, open_space);
    lua_setfield(lua, -2, "space");
}
