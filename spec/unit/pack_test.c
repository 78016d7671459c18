/* Lua values as bytes and back; see worker/pack.h. */
#include "tools.h"

#include "worker/pack.h"

#include <stdio.h>

#include <lauxlib.h>
#include <lualib.h>

enum { MOST = 1 << 20 };

/* Compares by what a value is, not where it lies: NaN is NaN, -0 is not 0. */
static const char PRELUDE[] =
    "null = ...\n"
    "local function bits(n) return n ~= n and 'nan' or 1 / n == -math.huge and '-0' or ('%a'):format(n) end\n"
    "function same(a, b)\n"
    "  if type(a) ~= type(b) then return false end\n"
    "  if type(a) == 'number' then return bits(a) == bits(b) end\n"
    "  if type(a) ~= 'table' then return a == b end\n"
    "  for k, v in pairs(a) do if not same(v, rawget(b, k)) then return false end end\n"
    "  for k in pairs(b) do if rawget(a, k) == nil then return false end end\n"
    "  return getmetatable(b) == nil\n"
    "end\n"
    "function deep(n) local t = {} for _ = 2, n do t = { t } end return t end\n"
    "function numbers(n) local t = {} for i = 1, n do t[i] = i * 0.5 end return t end\n";

static lua_State *open_lua(void)
{
    lua_State *lua = luaL_newstate();
    assert_non_null(lua);
    luaL_openlibs(lua);
    assert_int_equal(luaL_loadstring(lua, PRELUDE), 0);
    lua_pushlightuserdata(lua, NULL);
    assert_int_equal(lua_pcall(lua, 1, 0, 0), 0);
    return lua;
}

/* Pushes the expression's value. */
static void push(lua_State *lua, const char *expression)
{
    lua_pushfstring(lua, "return %s", expression);
    if (luaL_loadstring(lua, lua_tostring(lua, -1)) != 0 || lua_pcall(lua, 0, 1, 0) != 0)
        fail_msg("%s: %s", expression, lua_tostring(lua, -1));
    lua_remove(lua, -2);
}

/* Packs the expression's value, and leaves it and the scratch's place on the stack. */
static bool pack_expression(lua_State *lua, const char *expression, size_t most, struct scratch *scratch,
                            char problem[PACK_PROBLEM_BYTES])
{
    lua_settop(lua, 0);
    push(lua, expression);
    scratch_init(scratch, lua);
    bool packed = pack_write(scratch, 1, most, problem);
    assert_int_equal(lua_gettop(lua), 2);
    return packed;
}

static void round_trips(void **context)
{
    static const char *const expressions[] = {
        "true",
        "false",
        "null",
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "1e300",
        "2^31",
        "-2^31",
        "2^31 - 1",
        "2^53",
        "1/0",
        "-1/0",
        "0/0",
        "''",
        "'text'",
        "'\\0\\1\\255binary\\0'",
        "('x'):rep(255)",
        "('x'):rep(256)",
        "('x'):rep(100000)",
        "{}",
        "{ 1, 2, 3 }",
        "{ [0] = 0, [1] = 1, [-1] = -1, [1.5] = 1.5 }",
        "{ 1, nil, 3, nil, 5 }",
        "{ a = 1, b = { c = { d = { 'e' } } } }",
        "{ [true] = false, [false] = true }",
        "{ { id = 1, tags = { 'a', 'b' } }, { id = 2 }, n = 2, none = null }",
        "{ [null] = null }",
        "{ ['1'] = 'text', [1] = 'number' }",
        "{ 0/0, -0, 1/0, [2^40] = -1/0 }",
        "deep(100)",
        "numbers(50000)",
        "{ [3] = 3, [2] = 2, [1] = 1 }",
        "{ [2^53] = 1, [-2^53] = 2 }",
        "setmetatable({ 1, a = 2 }, { __index = error, __pairs = error, __len = error })",
    };
    lua_State *lua = open_lua();
    (void)context;
    for (size_t i = 0; i < COUNT_OF(expressions); i++) {
        struct scratch scratch;
        char problem[PACK_PROBLEM_BYTES];
        if (!pack_expression(lua, expressions[i], MOST, &scratch, problem))
            fail_msg("%s: %s", expressions[i], problem);
        char *bytes = exact_copy(scratch.data, scratch.size);
        lua_getglobal(lua, "same");
        lua_pushvalue(lua, 1);
        assert_true(pack_read(lua, (struct slice){ .data = bytes, .size = scratch.size }));
        free(bytes);
        assert_int_equal(lua_pcall(lua, 2, 1, 0), 0);
        if (!lua_toboolean(lua, -1))
            fail_msg("%s did not come back as it was", expressions[i]);
    }
    lua_close(lua);
}

static void refuses(void **context)
{
    static const struct {
        const char *expression, *problem;
        size_t most;
    } cases[] = {
        { "print", "function cannot be kept", MOST },
        { "{ a = { print } }", "function cannot be kept", MOST },
        { "{ [print] = 1 }", "function cannot be kept", MOST },
        { "nil", "nil cannot be kept", MOST },
        { "coroutine.create(print)", "thread cannot be kept", MOST },
        { "io.stdout", "userdata cannot be kept", MOST },
        { "{ [{}] = 1 }", "a table as a key cannot be kept", MOST },
        { "(function() local t = {} t.t = t return t end)()", "a table that contains itself cannot be kept",
          MOST },
        { "(function() local t = {} t[1] = { { t } } return t end)()",
          "a table that contains itself cannot be kept", MOST },
        { "deep(101)", "tables more than 100 deep cannot be kept", MOST },
        { "('x'):rep(1000)", "the value is too large", 1000 },
        { "numbers(50000)", "the value is too large", 100000 },
        /* 2^60 tables, if one met twice became two without a bound. */
        { "(function() local t = {} for _ = 1, 60 do t = { t, t } end return t end)()",
          "the value is too large", MOST },
    };
    lua_State *lua = open_lua();
    (void)context;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct scratch scratch;
        char problem[PACK_PROBLEM_BYTES];
        if (pack_expression(lua, cases[i].expression, cases[i].most, &scratch, problem))
            fail_msg("%s was packed", cases[i].expression);
        assert_string_equal(problem, cases[i].problem);
        assert_true(scratch.capacity <= cases[i].most || scratch.capacity == SCRATCH_FIRST_BYTES);
    }
    lua_close(lua);
}

/* Up to the bound and not a byte further. */
static void keeps_to_its_bound(void **context)
{
    lua_State *lua = open_lua();
    struct scratch scratch;
    char problem[PACK_PROBLEM_BYTES];
    (void)context;
    assert_true(pack_expression(lua, "numbers(5000)", MOST, &scratch, problem));
    size_t size = scratch.size;
    assert_true(pack_expression(lua, "numbers(5000)", size, &scratch, problem));
    assert_false(pack_expression(lua, "numbers(5000)", size - 1, &scratch, problem));
    lua_close(lua);
}

/* Walks what was read: it must be made of plain values only. */
static void check_plain(lua_State *lua)
{
    int type = lua_type(lua, -1);
    if (type == LUA_TLIGHTUSERDATA)
        assert_null(lua_touserdata(lua, -1));
    else
        assert_true(type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TTABLE);
    if (type != LUA_TTABLE)
        return;
    assert_true(lua_checkstack(lua, 8));
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        check_plain(lua);
        lua_pop(lua, 1);
        check_plain(lua);
    }
}

/* -> the bytes, read from memory that ends where they end */
static bool try_to_read(lua_State *lua, const char *bytes, size_t size)
{
    char *copy = exact_copy(bytes, size);
    lua_settop(lua, 0);
    bool read = pack_read(lua, (struct slice){ .data = copy, .size = size });
    free(copy);
    assert_int_equal(lua_gettop(lua), read ? 1 : 0);
    if (read)
        check_plain(lua);
    return read;
}

static void survives_any_bytes(void **context)
{
    struct random random = { .state = 20261124 };
    lua_State *lua = open_lua();
    unsigned read = 0;
    (void)context;
    for (unsigned i = 0; i < 300000; i++) {
        char bytes[64];
        size_t size = random_below(&random, sizeof bytes);
        for (size_t j = 0; j < size; j++)
            bytes[j] = (char)random_below(&random, random_one_in(&random, 4) ? 256 : 10);
        read += try_to_read(lua, bytes, size) ? 1 : 0;
    }
    assert_true(read > 0);
    lua_close(lua);
}

/* Bytes that were packed, with some of them changed, and cut. */
static void survives_damage(void **context)
{
    struct random random = { .state = 42 };
    lua_State *lua = open_lua();
    struct scratch scratch;
    char problem[PACK_PROBLEM_BYTES];
    unsigned read = 0;
    (void)context;
    assert_true(pack_expression(
        lua, "{ { id = 1, tags = { 'a', 'b' }, 0.5 }, ('x'):rep(300), [true] = null, { {} } }", MOST,
        &scratch, problem));
    size_t whole = scratch.size;
    char *packed = exact_copy(scratch.data, whole);
    for (size_t size = 0; size < whole; size++)
        assert_false(try_to_read(lua, packed, size));
    for (unsigned i = 0; i < 100000; i++) {
        char *bytes = exact_copy(packed, whole);
        for (unsigned changes = 1 + random_below(&random, 3); changes > 0; changes--)
            bytes[random_below(&random, (unsigned)whole)] = (char)random_below(&random, 256);
        read += try_to_read(lua, bytes, whole) ? 1 : 0;
        free(bytes);
    }
    assert_true(read > 0);
    free(packed);
    lua_close(lua);
}

/* Nothing that pack_write writes, though it might be read. */
static void refuses_bytes(void **context)
{
    static const struct slice cases[] = {
        INIT_BYTES(""),
        INIT_BYTES("\0"),
        INIT_BYTES("\x09"),
        INIT_BYTES("\x02\x02"),                                           /* two values */
        INIT_BYTES("\x06\x02x"),                                          /* a string without its end */
        INIT_BYTES("\x08\x01\0\0\0\0\0\0\0"),                             /* a table without its value */
        INIT_BYTES("\x08\0\0\0\0\x01\0\0\0\x08\0\0\0\0\0\0\0\0\x02"),     /* with a table for a key */
        INIT_BYTES("\x08\0\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\xf8\x7f\x02"), /* with NaN for a key */
    };
    lua_State *lua = open_lua();
    (void)context;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (try_to_read(lua, cases[i].data, cases[i].size))
            fail_msg("case %zu was read", i);
    }
    lua_close(lua);
}

static void refuses_addresses(void **context)
{
    lua_State *lua = open_lua();
    struct scratch scratch;
    char problem[PACK_PROBLEM_BYTES];
    (void)context;
    lua_pushlightuserdata(lua, &scratch);
    scratch_init(&scratch, lua);
    assert_false(pack_write(&scratch, 1, MOST, problem));
    assert_string_equal(problem, "userdata cannot be kept");
    lua_close(lua);
}

/* Tables that announce more than their bytes could hold are not made, however deep in others they are. */
static void allocates_in_proportion(void **context)
{
    enum { DEEP = 50, TABLE = 8, HEAD = 9, SIZE = 64 * 1024 };
    static char bytes[SIZE];
    lua_State *lua = open_lua();
    (void)context;
    for (int i = 0; i < DEEP; i++) {
        const uint32_t values = SIZE / 4;
        bytes[i * HEAD] = TABLE;
        memcpy(bytes + i * HEAD + 1, &values, sizeof values);
    }
    (void)lua_gc(lua, LUA_GCCOLLECT, 0);
    (void)lua_gc(lua, LUA_GCSTOP, 0);
    int before = lua_gc(lua, LUA_GCCOUNT, 0);
    assert_false(try_to_read(lua, bytes, sizeof bytes));
    assert_in_range(lua_gc(lua, LUA_GCCOUNT, 0) - before, 0, 2 * 8 * SIZE / 1024);
    lua_close(lua);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),        cmocka_unit_test(refuses),
        cmocka_unit_test(keeps_to_its_bound), cmocka_unit_test(survives_any_bytes),
        cmocka_unit_test(survives_damage),    cmocka_unit_test(refuses_bytes),
        cmocka_unit_test(refuses_addresses),  cmocka_unit_test(allocates_in_proportion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
