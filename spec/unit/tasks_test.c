/* Several messages under way at once in a worker: who waits holds up nobody, limits hold for each alone, and
 * what ends a state costs the others nothing; see worker/tasks.h and worker/wait.h. */
#include "worker_fixture.h"

#include <sched.h>

#define HANDLER(body) "return function(data, message) " body " end"

enum { CONCURRENCY = 3 };

static void start(struct fixture *fixture, const char *script)
{
    fixture_open(fixture);
    fixture->limits.concurrency = CONCURRENCY;
    fixture_run(fixture, script);
}

static void deliver(struct fixture *fixture, const char *id, const char *body)
{
    fixture_deliver(fixture, &(struct parcel){ .id = id, .body = body });
}

/* All at once, so that the worker has the last of them before the first has waited for anything. */
static void deliver_all(struct fixture *fixture, const struct parcel *parcels, size_t count)
{
    struct buffer batch;
    buffer_init(&batch, 1 << 20);
    for (size_t i = 0; i < count; i++)
        add_delivery(&batch, fixture, &parcels[i]);
    fixture_send(fixture, batch.data, batch.size);
    buffer_clear(&batch);
}

#define DELIVER_ALL(fixture, ...)                                                                            \
    deliver_all(fixture, (const struct parcel[]){ __VA_ARGS__ },                                             \
                sizeof(const struct parcel[]){ __VA_ARGS__ } / sizeof(struct parcel))

/* The next result is this delivery's. */
static struct answer expect(struct fixture *fixture, uint64_t seq, enum wire_verdict verdict)
{
    struct answer answer;
    expect_type(fixture, &answer, WIRE_RESULT);
    if (answer.result.seq != seq || answer.result.verdict != verdict)
        fail_msg("verdict %d of message %llu instead of %d of %llu: %s", answer.result.verdict,
                 (unsigned long long)answer.result.seq, (int)verdict, (unsigned long long)seq, answer.text);
    return answer;
}

static void expect_text(struct fixture *fixture, uint64_t seq, enum wire_verdict verdict, const char *text)
{
    struct answer answer = expect(fixture, seq, verdict);
    if (!strstr(answer.text, text))
        fail_msg("message %llu says \"%s\", which has no \"%s\"", (unsigned long long)seq, answer.text, text);
}

/* Sleeps as long as the body says. */
#define SLEEPER HANDLER("if message.body ~= '' then sleep(message.body) end")

static void test_who_waits_holds_up_nobody(void **context)
{
    struct fixture fixture;
    (void)context;
    start(&fixture, SLEEPER);
    DELIVER_ALL(&fixture, { .id = "1", .body = "1s" }, { .id = "2", .body = "300ms" }, { .id = "3" });
    (void)expect(&fixture, 3, WIRE_ACK);
    (void)expect(&fixture, 2, WIRE_ACK);
    (void)expect(&fixture, 1, WIRE_ACK);
    fixture_finish(&fixture);
}

/* No more than concurrency at once: the last is begun when the first is over. */
static void test_no_more_than_so_many(void **context)
{
    struct fixture fixture;
    (void)context;
    start(&fixture,
          "local n, most = 0, 0\n" HANDLER("n = n + 1 most = math.max(n, most) sleep('10ms') n = n - 1\n"
                                           "if message.id == '20' then return 'reject', most end"));
    for (unsigned i = 1; i < 20; i++)
        deliver(&fixture, "x", NULL);
    deliver(&fixture, "20", NULL);
    for (unsigned i = 1; i < 20; i++)
        (void)expect(&fixture, i, WIRE_ACK);
    expect_text(&fixture, 20, WIRE_REJECT, "3");
    fixture_finish(&fixture);
}

/* What a handler has of its message is its own, whoever ran meanwhile. */
static void test_messages_are_kept_apart(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    start(&fixture, HANDLER("local headers = message.headers headers.own = message.id\n"
                            "message:publish('', message.id, 'before')\n"
                            "if message.id == '1' then sleep('500ms') else sleep('10ms') end\n"
                            "assert(message.headers == headers and headers.own == message.id)\n"
                            "assert(message.body == 'body ' .. message.id and data == message.body)\n"
                            "message:publish('', message.id, 'after')"));
    DELIVER_ALL(&fixture, { .id = "1", .body = "body 1" }, { .id = "2", .body = "body 2" });
    for (uint64_t seq = 2; seq > 0; seq--) {
        for (int i = 0; i < 2; i++) {
            expect_type(&fixture, &answer, WIRE_PUBLISH);
            assert_true(answer.publish.seq == seq);
        }
        (void)expect(&fixture, seq, WIRE_ACK);
    }
    fixture_finish(&fixture);
}

/* A body on the shelf stays there while its message waits, and can be read until it is answered. */
static void test_laid_bodies_of_messages_that_wait(void **context)
{
    static const char script[] = HANDLER("sleep(message.id == '1' and '2s' or '10ms')\n"
                                         "assert(data == message.body and #data == 20000)\n"
                                         "return 'reject', data:sub(1, 1) .. data:sub(-1)");
    struct fixture fixture;
    char one[20000], other[20000];
    (void)context;
    memset(one, 'a', sizeof one);
    memset(other, 'b', sizeof other);
    start(&fixture, script);
    fixture_deliver(
        &fixture,
        &(struct parcel){ .id = "1", .body = one, .body_bytes = sizeof one, .laid = true, .laid_at = 0 });
    fixture_deliver(
        &fixture, &(struct parcel){
                      .id = "2", .body = other, .body_bytes = sizeof other, .laid = true, .laid_at = 32768 });
    expect_text(&fixture, 2, WIRE_REJECT, "bb");
    memset(other, 'c', sizeof other);
    fixture_deliver(
        &fixture, &(struct parcel){
                      .id = "3", .body = other, .body_bytes = sizeof other, .laid = true, .laid_at = 32768 });
    expect_text(&fixture, 3, WIRE_REJECT, "cc");
    expect_text(&fixture, 1, WIRE_REJECT, "aa");
    fixture_finish(&fixture);
}

/* The deadline counts while a handler waits; who passes it so is dropped alone, and the state lives on. */
static void test_deadline_while_waiting(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.concurrency = CONCURRENCY;
    fixture.limits.deadline_ns = CLOCK_NS_PER_SECOND / 5;
    fixture_run(&fixture,
                "local n = 0\n" HANDLER("n = n + 1\n"
                                        "if message.id == 'late' then pcall(sleep, 60) n = 1000 end\n"
                                        "return 'reject', n"));
    deliver(&fixture, "late", NULL);
    deliver(&fixture, "other", NULL);
    expect_text(&fixture, 2, WIRE_REJECT, "2");
    expect_text(&fixture, 1, WIRE_OUT_OF_TIME, "ran longer than limits.deadline (200ms), waiting in sleep");
    deliver(&fixture, "next", NULL);
    expect_text(&fixture, 3, WIRE_REJECT, "3");
    fixture_finish(&fixture);
}

static const char *const ends_of_a_state[] = {
    "local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end",
    "local function f() return 1 + #(('x'):gsub('x', f)) end while true do pcall(f) end",
};

/* Who uses up what is everybody's has failed; the others are returned, not charged. */
static void test_trips_cost_the_others_nothing(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof ends_of_a_state / sizeof ends_of_a_state[0]; i++) {
        struct fixture fixture;
        struct answer answer;
        char script[512];
        (void)snprintf(script, sizeof script,
                       HANDLER("if message.id == 'bad' then sleep('10ms') %s end "
                               "message:publish('', 'x', 'y') sleep(60)"),
                       ends_of_a_state[i]);
        fixture_open(&fixture);
        fixture.limits.concurrency = CONCURRENCY;
        fixture.limits.memory_bytes = 4 << 20;
        fixture_run(&fixture, script);
        DELIVER_ALL(&fixture, { .id = "1" }, { .id = "bad" }, { .id = "3" });
        expect_type(&fixture, &answer, WIRE_RESULT);
        assert_true(answer.result.seq == 2);
        assert_int_not_equal(answer.result.verdict, WIRE_RETURNED);
        (void)expect(&fixture, 1, WIRE_RETURNED);
        (void)expect(&fixture, 3, WIRE_RETURNED);
        expect_type(&fixture, &answer, WIRE_RECYCLED);
        fixture_close(&fixture);
    }
}

/* Who waits has the time back that another spun: together both sleeps are longer than the deadline. On a
 * machine so busy that either is out of time by itself, it is tried again. */
static void test_time_that_others_took(void **context)
{
    bool tried = false;
    (void)context;
    for (int i = 0; i < 50 && !tried; i++) {
        struct fixture fixture;
        struct answer answer;
        fixture_open(&fixture);
        fixture.limits.concurrency = CONCURRENCY;
        fixture.limits.deadline_ns = CLOCK_NS_PER_SECOND;
        fixture_run(&fixture, "local cache = require 'cache'\n" /* whose time is the clock's */
                    HANDLER("if message.id == 'hog' then cache.set('spins', 1, '400ms')\n"
                            "while cache.has('spins') do end else sleep('600ms') sleep('500ms') end"));
        DELIVER_ALL(&fixture, { .id = "waits" }, { .id = "hog" });
        expect_type(&fixture, &answer, WIRE_RESULT);
        assert_true(answer.result.seq == 2);
        bool hog_in_time = answer.result.verdict == WIRE_ACK;
        expect_type(&fixture, &answer, WIRE_RESULT);
        assert_true(answer.result.seq == 1);
        if (!hog_in_time)
            assert_int_equal(answer.result.verdict, WIRE_RETURNED);
        else if (answer.result.verdict != WIRE_OUT_OF_TIME)
            assert_int_equal(answer.result.verdict, WIRE_ACK);
        tried = hog_in_time && answer.result.verdict == WIRE_ACK;
        fixture_close(&fixture);
    }
    assert_true(tried);
}

static void test_page_names_who_runs(void **context)
{
    struct fixture fixture;
    (void)context;
    start(&fixture, HANDLER("if message.id == 'dies' then while true do end end sleep(60)"));
    deliver(&fixture, "waits", NULL);
    while (atomic_load(&fixture.board->started) < 1 || atomic_load(&fixture.board->running) > 0)
        (void)sched_yield();
    deliver(&fixture, "dies", NULL);
    while (atomic_load(&fixture.board->running) != 2)
        (void)sched_yield();
    assert_int_equal(atomic_load(&fixture.board->started), 2);
    fixture_close(&fixture);
}

/* The state that has handled enough goes when nothing is under way in it: nobody is begun meanwhile. */
static void test_recycling_waits(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.concurrency = CONCURRENCY;
    fixture.limits.recycle_messages = 2;
    fixture_run(&fixture, "local n = 0\n" HANDLER("n = n + 1 local at = n if message.body ~= '' then "
                                                  "sleep(message.body) end return 'reject', at"));
    deliver(&fixture, "1", "100ms");
    deliver(&fixture, "2", "");
    deliver(&fixture, "3", "");
    deliver(&fixture, "4", "");
    expect_text(&fixture, 2, WIRE_REJECT, "2");
    expect_text(&fixture, 3, WIRE_REJECT, "3");
    expect_text(&fixture, 1, WIRE_REJECT, "1");
    expect_type(&fixture, &answer, WIRE_RECYCLED);
    expect_text(&fixture, 4, WIRE_REJECT, "1");
    fixture_finish(&fixture);
}

static void test_stop_waits(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    start(&fixture, SLEEPER);
    for (int i = 0; i < CONCURRENCY; i++)
        deliver(&fixture, "x", "50ms");
    fixture_send_stop(&fixture);
    for (unsigned i = 1; i <= CONCURRENCY; i++)
        (void)expect(&fixture, i, WIRE_ACK);
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

/* What is taken back is answered even while no room is there for another message. */
static void test_taken_back(void **context)
{
    struct fixture fixture;
    (void)context;
    start(&fixture, SLEEPER);
    for (int i = 0; i < CONCURRENCY; i++)
        deliver(&fixture, "x", "300ms");
    while (atomic_load(&fixture.board->started) < CONCURRENCY)
        (void)sched_yield();
    assert_int_equal(board_revoke(fixture.board, CONCURRENCY + 1), CONCURRENCY + 1);
    deliver(&fixture, "x", "");
    deliver(&fixture, "x", "");
    (void)expect(&fixture, CONCURRENCY + 1, WIRE_SKIPPED);
    (void)expect(&fixture, CONCURRENCY + 2, WIRE_SKIPPED);
    for (unsigned i = 1; i <= CONCURRENCY; i++)
        (void)expect(&fixture, i, WIRE_ACK);
    fixture_finish(&fixture);
}

static const struct script_case cases[] = {
    { "pcall around a wait",
      HANDLER("local ok, x = pcall(function() sleep('1ms') return 5 end) assert(ok and x == 5)\n"
              "ok, x = pcall(function() sleep('1ms') error('after', 0) end) assert(not ok and x == 'after')\n"
              "ok, x = xpcall(function() sleep('1ms') error('it', 0) end, function(e) return e .. '!' end)\n"
              "assert(not ok and x == 'it!')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "generator that waits",
      HANDLER("local sum = 0 for x in coroutine.wrap(function() for i = 1, 4 do sleep('1ms') "
              "coroutine.yield(i) end end) do sum = sum + x end assert(sum == 10)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "coroutines in coroutines that wait",
      HANDLER("local function deep(n) if n == 0 then sleep('1ms') return 'bottom', nil, 3 end\n"
              "  local co = coroutine.create(deep) return select(2, coroutine.resume(co, n - 1)) end\n"
              "local a, b, c = deep(10) assert(a == 'bottom' and b == nil and c == 3)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "as many results as there were",
      HANDLER("local co = coroutine.create(function() sleep(0) end)\n"
              "assert(select('#', coroutine.resume(co)) == 1 and coroutine.status(co) == 'dead')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "error in a coroutine that waited",
      HANDLER(
          "local ok, x = coroutine.resume(coroutine.create(function() sleep(0) error('in it', 0) end))\n"
          "assert(not ok and x == 'in it') ok, x = pcall(coroutine.wrap(function() sleep(0) error('w', 0) "
          "end)) assert(not ok and x == 'w')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "yield without a resumer",
      HANDLER("sleep(0) coroutine.yield(1)"),
      { 0 },
      WIRE_ERROR,
      "attempt to yield from outside a coroutine" },
    { "yield without a resumer, caught",
      HANDLER("for i = 1, 3 do assert(not pcall(coroutine.yield)) sleep(0) end return 'reject', 'went on'"),
      { 0 },
      WIRE_REJECT,
      "went on" },
    { "wait in a callback of the library",
      HANDLER(
          "local ok, why = pcall(string.gsub, 'x', 'x', function() sleep(0) end)\n"
          "assert(not ok and why:find('nothing can wait in a function that table.sort'), why)\n"
          "ok, why = pcall(string.gsub, 'x', 'x', function() coroutine.wrap(function() sleep(0) end)() end)\n"
          "assert(not ok and why:find('nothing can wait'), why)\n"
          "sleep('1ms')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "error after a wait",
      HANDLER("sleep(0)\n error('late')"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:2: late\nstack traceback:\n\t[C]: in function 'error'\n\thandler.lua:2: in function" },
    { "spinning after a wait is a trip",
      HANDLER("sleep(0) while true do pcall(error) end"),
      { 0 },
      WIRE_OUT_OF_TIME,
      "ran longer than" },
    { "fetch that waits",
      "local cache = require 'cache' " HANDLER(
          "local function make() sleep('1ms') return 7 end\n"
          "assert(cache.fetch('k', 1, make) == 7 and cache.get('k') == 7)\n"
          "assert(cache.space('s').fetch('k', 1, make) == 7)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "times that are none",
      HANDLER("for _, x in ipairs { -1, 'soon', {}, 0/0 } do local ok, why = pcall(sleep, x)\n"
              "assert(not ok and why:find('sleep: the time is .*give seconds, or a time such as'), why) end\n"
              "assert(not pcall(sleep))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "setup and teardown wait",
      "local done return { setup = function() sleep('1ms') done = true end, teardown = function() "
      "sleep('1ms') "
      "end, handle = function() assert(done) end }",
      { 0 },
      WIRE_ACK,
      NULL },
};

static void test_scripts(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        fixture_open(&fixture);
        fixture.limits.concurrency = CONCURRENCY;
        fixture.limits.deadline_ns = strstr(cases[i].script, "while true") ? CLOCK_NS_PER_SECOND / 5 : 0;
        if (cases[i].verdict == WIRE_OUT_OF_TIME)
            fixture.limits.grace_ns = 60 * CLOCK_NS_PER_SECOND;
        if (cases[i].verdict != WIRE_OUT_OF_TIME) {
            check_case_in(&fixture, &cases[i]);
            continue;
        }
        struct answer answer;
        fixture_run(&fixture, cases[i].script);
        fixture_try(&fixture, &cases[i].parcel, &answer);
        assert_int_equal(answer.result.verdict, WIRE_OUT_OF_TIME);
        fixture_close(&fixture);
    }
}

/* One that waits alone in its worker waits right there, callbacks of the library included. */
static void test_alone(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture,
                HANDLER("sleep('5ms') for x in coroutine.wrap(function() sleep('1ms') "
                        "coroutine.yield(1) end) do end\n"
                        "return 'reject', (('x'):gsub('x', function() sleep('1ms') return 'y' end))"));
    fixture_try(&fixture, &(struct parcel){ .body = "x" }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_REJECT);
    assert_string_equal(answer.text, "y");
    assert_true(answer.result.elapsed_ns >= 7 * CLOCK_NS_PER_MS);
    fixture_finish(&fixture);
}

/* A coroutine that one handler left where another finds it. */
static void test_coroutines_of_others(void **context)
{
    struct fixture fixture;
    (void)context;
    start(&fixture,
          "local left, own\n" HANDLER(
              "if message.id == 'leaves' then\n"
              "  left = coroutine.create(function() coroutine.yield(message) sleep('1ms') return 'end' end)\n"
              "  own = coroutine.running() coroutine.resume(left)\n"
              "  sleep('1s') return end\n"
              "local ok, why = coroutine.resume(own) assert(not ok and why == 'cannot resume a coroutine "
              "that waits')\n"
              "assert(coroutine.status(own) == 'normal')\n"
              "local ok, what = coroutine.resume(left)\n"
              "assert(ok and what == 'end', what) return 'reject', 'went on'"));
    DELIVER_ALL(&fixture, { .id = "leaves" }, { .id = "finds" });
    expect_text(&fixture, 2, WIRE_REJECT, "went on");
    (void)expect(&fixture, 1, WIRE_ACK);
    fixture_finish(&fixture);
}

static unsigned long long woken(pid_t pid)
{
    char path[64], line[256], *end;
    unsigned long long count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    assert_non_null(status);
    while (fgets(line, sizeof line, status)) {
        static const char key[] = "voluntary_ctxt_switches:";
        if (strncmp(line, key, sizeof key - 1) != 0)
            continue;
        count = strtoull(line + sizeof key - 1, &end, 10);
        assert_true(*end == '\n');
    }
    (void)fclose(status);
    assert_true(count > 0);
    return count;
}

/* Ticks cease when there is nothing to do: they did not where several could be under way. */
static void test_rests_when_idle(void **context)
{
    const struct timespec while_it_rests = { .tv_nsec = 300000000 };
    struct fixture fixture;
    (void)context;
    start(&fixture, SLEEPER);
    deliver(&fixture, "1", "10ms");
    (void)expect(&fixture, 1, WIRE_ACK);
    int64_t until_ns = clock_now_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
    unsigned long long before, after = woken(fixture.pid);
    do {
        assert_true(clock_now_ns() < until_ns);
        before = after;
        (void)nanosleep(&while_it_rests, NULL);
        after = woken(fixture.pid);
    } while (after != before);
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_holds_up_nobody),
        cmocka_unit_test(test_no_more_than_so_many),
        cmocka_unit_test(test_messages_are_kept_apart),
        cmocka_unit_test(test_laid_bodies_of_messages_that_wait),
        cmocka_unit_test(test_deadline_while_waiting),
        cmocka_unit_test(test_trips_cost_the_others_nothing),
        cmocka_unit_test(test_time_that_others_took),
        cmocka_unit_test(test_page_names_who_runs),
        cmocka_unit_test(test_rests_when_idle),
        cmocka_unit_test(test_recycling_waits),
        cmocka_unit_test(test_stop_waits),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_coroutines_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
