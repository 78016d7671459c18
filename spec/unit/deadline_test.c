/* limits.deadline: which runaways the hook ends, and that nothing they catch helps them; see worker/trip.c.
 * Those that no hook reaches (a compiled loop, a C function that does not return) are the host's to kill. */
#include "limits.h"

#define MS ((int64_t)1000000)

/* Loading a script has to fit into it, too, on any machine. */
enum { DEADLINE_MS = 250 };

static const struct wire_setup limits = {
    .memory_bytes = 64 << 20,
    .deadline_ns = DEADLINE_MS * MS,
    .message_bytes = MESSAGE_MAX,
    .log_level = LOG_INFO,
};

#define OUT NULL, WIRE_OUT_OF_TIME, "ran longer than limits.deadline (250ms)", WIRE_RECYCLE_OUT_OF_TIME

/* A call that LuaJIT leaves to its interpreter, so that a loop around it is never compiled as a whole. */
#define SLOW                                                                                                 \
    "local function slow() return select('#', string.byte(('x'):rep(100), 1, 100)), load('return 1')() end "

static const struct limit_case soft[] = {
    { "a loop of calls that are interpreted", TRIAL(SLOW "while true do slow() end"), OUT },
    { "caught by pcall", TRIAL(SLOW "while true do pcall(function() while true do slow() end end) end"),
      OUT },
    { "caught by pcalls inside each other",
      TRIAL(SLOW
            "local function f(n) while true do if n > 0 then pcall(f, n - 1) else slow() end end end f(50)"),
      OUT },
    { "caught, and a verdict returned",
      TRIAL(SLOW "pcall(function() while true do slow() end end) return 'reject', 'not me'"), OUT },
    { "caught by an error handler",
      TRIAL(SLOW "local function run() while true do slow() end end xpcall(run, run) return true"), OUT },
    { "error handlers of error handlers",
      TRIAL(SLOW "local function run() while true do slow() end end\n"
                 "local function again() xpcall(run, again) run() end xpcall(run, again) return true"),
      OUT },
    { "in a coroutine", TRIAL(SLOW "coroutine.wrap(function() while true do slow() end end)()"), OUT },
    { "a new coroutine after each",
      TRIAL(SLOW
            "while true do coroutine.resume(coroutine.create(function() while true do slow() end end)) end"),
      OUT },
    { "yielding inside pcall for ever",
      TRIAL(SLOW
            "local next = coroutine.wrap(function() while true do pcall(coroutine.yield, slow()) end end)\n"
            "while true do next() end"),
      OUT },
    { "in a comparator",
      TRIAL(SLOW "local t = {} for i = 1, 100 do t[i] = i end\n"
                 "while true do pcall(table.sort, t, function(a, b) slow() return a < b end) end"),
      OUT },
    { "in a callback of gsub",
      TRIAL(SLOW "local s = ('x'):rep(1e5) while true do pcall(s.gsub, s, 'x', function() slow() end) end"),
      OUT },
    { "in metamethods",
      TRIAL(SLOW "local m = {} m.__index = function(t, k) slow() return t[k + 1] end\n"
                 "while true do pcall(function() return setmetatable({}, m)[1] end) end"),
      OUT },
    { "in __tostring",
      TRIAL(SLOW "while true do tostring(setmetatable({}, { __tostring = function() slow() "
                 "return '' end })) end"),
      OUT },
    { "in the reader of a chunk", TRIAL(SLOW "load(function() slow() return ' ' end) return true"), OUT },
    { "cjson's errors, caught by itself",
      TRIAL("local json = require 'cjson.safe' while true do json.decode('[') end"), OUT },
    { "not for long", TRIAL("return true"), NULL, WIRE_ACK, NULL, WIRE_RECYCLE_NONE },
};

static void what_the_hook_ends(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof soft / sizeof soft[0]; i++)
        check_limit(&limits, &soft[i]);
}

/* Debian's LuaJIT ends none of these by a hook; another may. None gets through with anything but its time. */
static void what_only_the_host_ends(void **context)
{
    static const struct {
        const char *name, *script;
    } hard[] = {
        { "a compiled loop", TRIAL("while true do end") },
        { "a compiled loop in pcall", TRIAL("while true do pcall(function() while true do end end) end") },
        { "an endless tail call", TRIAL("local function f() return f() end return f()") },
        { "a pattern that backtracks", TRIAL("return (('a'):rep(30):find(('a*'):rep(30) .. 'b'))") },
        { "a builtin that calls itself",
          TRIAL("local m = { __tostring = tostring } return tostring(setmetatable({}, m))") },
    };
    (void)context;
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        struct fixture fixture;
        struct answer answer;
        fixture_open(&fixture);
        fixture.limits = limits;
        fixture_run(&fixture, hard[i].script);
        fixture_deliver(&fixture, &(struct parcel){ 0 });
        struct pollfd readable = { .fd = fixture.fd, .events = POLLIN };
        if (poll(&readable, 1, 4 * DEADLINE_MS) > 0) {
            expect_type(&fixture, &answer, WIRE_RESULT);
            if (answer.result.verdict != WIRE_OUT_OF_TIME)
                fail_msg("%s: verdict %d: %s", hard[i].name, answer.result.verdict, answer.text);
        }
        assert_int_equal(waitpid(fixture.pid, NULL, WNOHANG), 0);
        fixture_close(&fixture);
    }
}

static void where_it_was_is_told(void **context)
{
    static const struct limit_case test = {
        "a traceback",
        "local function slowly()\n  while true do load('return 1')() end\nend\n" TRIAL(
            "pcall(slowly) return true"),
        NULL,
        WIRE_OUT_OF_TIME,
        "handler.lua:2: in function",
        WIRE_RECYCLE_OUT_OF_TIME,
    };
    (void)context;
    check_limit(&limits, &test);
}

static void loading_and_setup_have_it_too(void **context)
{
    static const struct {
        const char *script, *text;
    } cases[] = {
        { "while true do load('return 1')() end", "handler.lua: ran longer than limits.deadline (250ms)" },
        { "return { handle = print, setup = function() while true do pcall(load('return 1')) end end }",
          "setup of handler.lua failed: ran longer than limits.deadline (250ms)" },
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        struct answer answer;
        fixture_open(&fixture);
        fixture.limits = limits;
        fixture_write_text(&fixture, "handler.lua", cases[i].script);
        fixture_start(&fixture);
        expect_type(&fixture, &answer, WIRE_FAILED);
        assert_string_equal(answer.text, cases[i].text);
        assert_int_equal(fixture_wait(&fixture), 1);
        fixture_close(&fixture);
    }
}

static void so_has_teardown(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.limits = limits;
    fixture_run(&fixture,
                "return { handle = print, teardown = function() while true do load('return 1')() end end }");
    fixture_send_stop(&fixture);
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_string_equal(answer.text,
                        "teardown of handler.lua failed: ran longer than limits.deadline (250ms)");
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

/* The host has its answer and waits for nothing: the worker has to see to its end itself. */
static void a_teardown_that_no_hook_ends_ends_the_worker(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.limits = limits;
    fixture.limits.grace_ns = 50 * MS;
    fixture.limits.recycle_messages = 1;
    fixture_run(&fixture, "return { handle = function() end, teardown = function()\n"
                          "  tostring(setmetatable({}, { __tostring = tostring })) end }");
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), WORKER_EXIT_OVERDUE);
    fixture_close(&fixture);
}

/* What is not over is as it was: yields cross pcall, errors keep their values, xpcall calls its handler. */
static void protected_calls_work_as_before(void **context)
{
    static const struct limit_case cases[] = {
        { "a yield inside pcall",
          TRIAL("local f = coroutine.wrap(function() return pcall(function() "
                "return coroutine.yield(1) + 1 end) end) "
                "local a = f() local b, c = f(41) "
                "return 'reject', a .. tostring(b) .. c"),
          NULL, WIRE_REJECT, "1true42", WIRE_RECYCLE_NONE },
        { "a yield inside xpcall",
          TRIAL("local f = coroutine.wrap(function() return xpcall(function(x) "
                "return coroutine.yield(x) + 1 end, print, 7) end) "
                "local a = f() local b, c = f(41) "
                "return 'reject', a .. tostring(b) .. c"),
          NULL, WIRE_REJECT, "7true42", WIRE_RECYCLE_NONE },
        { "an error handler",
          TRIAL("local e = {} local ok, r = xpcall(error, function(x) return { x } end, e) "
                "return 'reject', tostring(ok) .. tostring(r[1] == e)"),
          NULL, WIRE_REJECT, "falsetrue", WIRE_RECYCLE_NONE },
        { "no error handler", TRIAL("return 'reject', select(2, pcall(xpcall, print))"), NULL, WIRE_REJECT,
          "bad argument #2 to 'xpcall' (function expected, got nil)", WIRE_RECYCLE_NONE },
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_limit(&limits, &cases[i]);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_hook_ends),
        cmocka_unit_test(what_only_the_host_ends),
        cmocka_unit_test(where_it_was_is_told),
        cmocka_unit_test(loading_and_setup_have_it_too),
        cmocka_unit_test(so_has_teardown),
        cmocka_unit_test(a_teardown_that_no_hook_ends_ends_the_worker),
        cmocka_unit_test(protected_calls_work_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
