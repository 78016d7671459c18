/* limits.memory: what counts, what happens past it, and that nothing a script does about it ends the worker;
 * see worker/quota.c. */
#include "limits.h"

#include "worker/quota.h"

#include <stdio.h>

#define MIB ((uint64_t)1024 * 1024)

static struct wire_setup limits_of(uint64_t memory_bytes)
{
    return (struct wire_setup){ .memory_bytes = memory_bytes,
                                .message_bytes = MESSAGE_MAX,
                                .log_level = LOG_INFO };
}

#define OUT WIRE_OUT_OF_MEMORY, "used more memory than limits.memory (4MiB)", WIRE_RECYCLE_OUT_OF_MEMORY

static const struct limit_case cases[] = {
    { "a table that grows", TRIAL("local t = {} while true do t[#t + 1] = { #t } end"), NULL, OUT },
    { "a string that doubles", TRIAL("local s = 'x' while true do s = s .. s end"), NULL, OUT },
    { "one string at once", TRIAL("return #('x'):rep(1e8)"), NULL, OUT },
    { "closures", TRIAL("local f = print while true do local g = f f = function() return g end end"), NULL,
      OUT },
    { "coroutines", TRIAL("local t = {} while true do t[#t + 1] = coroutine.create(print) end"), NULL, OUT },
    { "varargs", TRIAL("local function f(...) return f(1, ...) end return f()"), NULL, WIRE_ERROR,
      "stack overflow", WIRE_RECYCLE_NONE },
    { "caught and swallowed",
      TRIAL("pcall(function() local t = {} while true do t[#t + 1] = { #t } end end) return true"), NULL,
      OUT },
    { "caught again and again",
      TRIAL("local keep = {} while true do pcall(function() while true do keep[#keep + 1] = ('x'):rep(#keep) "
            "end end) "
            "end"),
      NULL, OUT },
    { "caught by an error handler that goes on",
      TRIAL("local t = {} local function more() while true do t[#t + 1] = { #t } end end\n"
            "xpcall(more, function() xpcall(more, more) return more() end) return true"),
      NULL, OUT },
    { "in a coroutine, whose end is not looked at",
      TRIAL("coroutine.resume(coroutine.create(function() local t = {} while true do t[#t + 1] = { #t } end "
            "end))"),
      NULL, OUT },
    { "in a comparator",
      TRIAL("local keep, t = {}, {} for i = 1, 1000 do t[i] = i end\n"
            "while true do pcall(table.sort, t, function(a, b) keep[#keep + 1] = {} return a > b end) end"),
      NULL, OUT },
    { "a JSON text larger than what it is made of",
      TRIAL("local s, t = ('x'):rep(1e5), {} for i = 1, 1000 do t[i] = s end return "
            "#require('cjson').encode(t)"),
      NULL, OUT },
    { "the same, safely",
      TRIAL("local s, t = ('x'):rep(1e5), {} for i = 1, 1000 do t[i] = s end\n"
            "require('cjson.safe').encode(t) return true"),
      NULL, OUT },
    { "the same, in a coroutine",
      TRIAL("local s, t = ('x'):rep(1e5), {} for i = 1, 1000 do t[i] = s end\n"
            "coroutine.wrap(function() pcall(require('cjson').encode, t) end)() return true"),
      NULL, OUT },
    { "cjson objects", TRIAL("local t = {} while true do t[#t + 1] = require('cjson').new() end"), NULL,
      OUT },
    { "garbage is none", TRIAL("for i = 1, 1e5 do local t = { i, ('x'):rep(i % 1000) } end return true"),
      NULL, WIRE_ACK, NULL, WIRE_RECYCLE_NONE },
    { "garbage beside much that lives",
      TRIAL("local keep = {} for i = 1, 3000 do keep[i] = ('x'):rep(900) .. i end\n"
            "for i = 1, 1e5 do local t = { i, ('x'):rep(i % 1000) .. i } end return true"),
      NULL, WIRE_ACK, NULL, WIRE_RECYCLE_NONE },
};

static void kinds(void **context)
{
    const struct wire_setup limits = limits_of(4 * MIB);
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_limit(&limits, &cases[i]);
}

/* A body is charged while its message is at hand, as it came and as a string. */
static void bodies_count(void **context)
{
    struct fixture fixture;
    struct trial trial;
    char *body = malloc(4 * MIB);
    (void)context;
    assert_non_null(body);
    memset(body, 'x', 4 * MIB);
    fixture_open(&fixture);
    fixture.limits = limits_of(8 * MIB);
    fixture.limits.decode = WIRE_DECODE_RAW;
    fixture_run(&fixture, TRIAL("return 'reject', #data"));
    static const struct {
        size_t mib;
        int verdict;
    } bodies[] = { { 3, WIRE_REJECT }, { 3, WIRE_REJECT }, { 4, WIRE_OUT_OF_MEMORY }, { 3, WIRE_REJECT } };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        body[0] = (char)('a' + i); /* another string each time */
        const struct parcel parcel = { .body = body, .body_bytes = bodies[i].mib * MIB };
        assert_true(trial_deliver(&fixture, &parcel, &trial));
        assert_int_equal(trial.answer.result.verdict, bodies[i].verdict);
    }
    free(body);
    fixture_finish(&fixture);
}

static void a_script_that_does_not_fit_is_not_loaded(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.limits = limits_of(2 * MIB);
    fixture_write_text(&fixture, "handler.lua", "local t = {} while true do t[#t + 1] = { #t } end");
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_FAILED);
    assert_non_null(strstr(answer.text, "limits.memory (2MiB)"));
    assert_int_equal(fixture_wait(&fixture), 1);
    fixture_close(&fixture);
}

/* Recursion through C is an error of its message, however it is done. */
static void native_stack(void **context)
{
    static const struct limit_case deep[] = {
        { "gsub in gsub", TRIAL("local function f() return (('x'):gsub('x', f)) end return f()"), NULL,
          WIRE_ERROR, "nested too deeply", WIRE_RECYCLE_OUT_OF_STACK },
        { "sort in sort", TRIAL("local function f() table.sort({ 1, 2 }, f) return true end return f()"),
          NULL, WIRE_ERROR, "stack overflow", WIRE_RECYCLE_NONE },
        { "coroutines in coroutines", TRIAL("local function f() return coroutine.wrap(f)() end return f()"),
          NULL, WIRE_ERROR, "nested too deeply", WIRE_RECYCLE_OUT_OF_STACK },
        { "gsub in coroutines in gsub",
          TRIAL("local function f() return (('x'):gsub('x', function() return coroutine.wrap(f)() end)) end "
                "return f()"),
          NULL, WIRE_ERROR, "nested too deeply", WIRE_RECYCLE_OUT_OF_STACK },
        { "caught each time",
          TRIAL("local function f() return pcall(coroutine.wrap(function() return f() end)) end return f()"),
          NULL, WIRE_ERROR, "nested too deeply", WIRE_RECYCLE_OUT_OF_STACK },
        { "metamethods",
          TRIAL("local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end "
                "return t.x"),
          NULL, WIRE_ERROR, "stack overflow", WIRE_RECYCLE_NONE },
        { "load in load", TRIAL("local function f() load(f) return nil end load(f) return true"), NULL,
          WIRE_ACK, "", WIRE_RECYCLE_NONE },
    };
    struct wire_setup limits = limits_of(1024 * MIB);
    (void)context;
    for (size_t i = 0; i < sizeof deep / sizeof deep[0]; i++)
        check_limit(&limits, &deep[i]);
}

/* Where half of the quota is used, nothing is held on top of it for the next large block. */
static void what_waits_is_none_of_a_full_state(void **context)
{
    struct home home;
    struct trip trip;
    struct quota quota;
    (void)context;
    home_init(&home, HOME_BYTES);
    lua_State *lua = quota_open_state(&quota, &trip, 4 * MIB, stack_reserve(), &home);
    assert_non_null(lua);
    void *kept = quota_reallocate(&quota, NULL, 0, MIB);
    void *given = quota_reallocate(&quota, NULL, 0, MIB / 2);
    assert_null(quota_reallocate(&quota, given, MIB / 2, 0));
    assert_true(quota.large.spare_bytes >= MIB / 2);
    kept = quota_reallocate(&quota, kept, MIB, 3 * MIB);
    given = quota_reallocate(&quota, NULL, 0, MIB / 2);
    assert_non_null(kept);
    assert_non_null(given);
    assert_null(quota_reallocate(&quota, given, MIB / 2, 0));
    assert_int_equal(quota.large.spare_bytes, 0);
    assert_null(quota_reallocate(&quota, kept, 3 * MIB, 0));
    quota_close_state(&quota, lua);
    home_clear(&home);
}

/* Blocks of one size come, and all but a few go, which are in every slab; then those of the next size: each
 * time all that is counted fits, but the memory would come to a multiple of it. */
static void scattered_blocks_are_refused(void **context)
{
    enum { LIMIT_MIB = 4, EVERY = 100 };
    struct home home;
    struct trip trip;
    struct quota quota;
    bool refused = false;
    (void)context;
    home_init(&home, 0);
    lua_State *lua = quota_open_state(&quota, &trip, LIMIT_MIB * MIB, stack_reserve(), &home);
    assert_non_null(lua);
    for (size_t bytes = 32; bytes <= SLAB_FINE_MOST && !refused; bytes += SLAB_STEP) {
        void **first = NULL;
        while (!refused && quota.used < LIMIT_MIB * MIB - 64 * 1024) {
            void **block = quota_reallocate(&quota, NULL, 0, bytes);
            refused = !block;
            if (block) {
                *block = first;
                first = block;
            }
        }
        for (unsigned i = 0; first; i++) {
            void **next = *first;
            if (i % EVERY != 0)
                (void)quota_reallocate(&quota, first, bytes, 0);
            first = next;
        }
        assert_true(quota.slabs.bytes <= quota.refuse_at + LIMIT_MIB * MIB / 4 + 3 * MIB);
    }
    assert_true(refused);
    assert_true(quota_is_scattered(&quota));
    assert_int_equal(trip.kind, TRIP_MEMORY);
    quota_close_state(&quota, lua);
    home_clear(&home);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(bodies_count),
        cmocka_unit_test(a_script_that_does_not_fit_is_not_loaded),
        cmocka_unit_test(native_stack),
        cmocka_unit_test(what_waits_is_none_of_a_full_state),
        cmocka_unit_test(scattered_blocks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
