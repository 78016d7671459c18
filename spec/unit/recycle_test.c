/* Recycling: when a state is exchanged, what the host is told of it, and that no message feels it; see
 * worker/recycle.c. */
#include "limits.h"

#define KIB ((uint64_t)1024)

static void open_with(struct fixture *fixture, uint64_t messages, uint64_t memory_bytes)
{
    fixture_open(fixture);
    fixture->limits.recycle_messages = messages;
    fixture->limits.recycle_memory_bytes = memory_bytes;
}

static void send_recycle(struct fixture *fixture)
{
    struct buffer frame;
    buffer_init(&frame, FRAME_MAX);
    wire_end(&frame, wire_begin(&frame, WIRE_RECYCLE));
    fixture_send(fixture, frame.data, frame.size);
    buffer_clear(&frame);
}

#define COUNTING "local n = 0 return function() n = n + 1 return 'reject', n end"

/* All answers come, in order, whatever the states in between. */
static void after_so_many_messages(void **context)
{
    enum { MESSAGES = 10, COUNT = 95 };
    struct fixture fixture;
    struct answer answer;
    struct buffer batch;
    unsigned recycles = 0;
    char *end;
    (void)context;
    open_with(&fixture, MESSAGES, 0);
    fixture_run(&fixture, COUNTING);
    buffer_init(&batch, 1 << 20);
    for (int i = 0; i < COUNT; i++)
        add_delivery(&batch, &fixture, &(struct parcel){ 0 });
    fixture_send(&fixture, batch.data, batch.size);
    for (unsigned i = 0; i < COUNT;) {
        struct wire_recycled recycled;
        assert_true(fixture_answer(&fixture, &answer));
        if (answer.type == WIRE_RESULT) {
            assert_int_equal(answer.result.seq, ++i);
            assert_int_equal(strtoull(answer.text, &end, 10), (i - 1) % MESSAGES + 1);
            continue;
        }
        assert_int_equal(answer.type, WIRE_RECYCLED);
        assert_true(wire_take_recycled(&answer.attributes, &recycled));
        assert_int_equal(recycled.reason, WIRE_RECYCLE_MESSAGES);
        assert_int_equal(recycled.messages, MESSAGES);
        assert_true(recycled.age_ns > 0 && recycled.pause_ns > 0);
        assert_true(recycled.heap_bytes > 0 && recycled.peak_bytes >= recycled.heap_bytes);
        recycles++;
    }
    assert_int_equal(recycles, COUNT / MESSAGES);
    buffer_clear(&batch);
    fixture_finish(&fixture);
}

static void when_what_lives_is_too_large(void **context)
{
    struct fixture fixture;
    struct trial trial;
    unsigned kept = 0, recycles = 0;
    char *end;
    (void)context;
    open_with(&fixture, 0, 2048 * KIB);
    fixture_run(&fixture, "local kept = {} return function() kept[#kept + 1] = ('x'):rep(100000) .. #kept\n"
                          "return 'reject', #kept end");
    for (int i = 0; i < 100; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
        recycles += trial.recycles;
        if (trial.recycles > 0) {
            assert_int_equal(trial.recycled.reason, WIRE_RECYCLE_MEMORY);
            assert_true(trial.recycled.heap_bytes > 2048 * KIB);
            assert_true(trial.recycled.peak_bytes < 4096 * KIB);
            assert_in_range(kept, 15, 30);
            assert_string_equal(trial.answer.text, "1");
        }
        kept = (unsigned)strtoull(trial.answer.text, &end, 10);
    }
    assert_in_range(recycles, 3, 6);
    fixture_finish(&fixture);
}

/* Garbage is no reason, however much of it there is. */
static void never_for_garbage(void **context)
{
    struct fixture fixture;
    struct trial trial;
    (void)context;
    open_with(&fixture, 0, 2048 * KIB);
    fixture_run(&fixture, HANDLER("for i = 1, 100 do local t = ('x'):rep(100000) .. i end return true"));
    for (int i = 0; i < 50; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
        assert_int_equal(trial.recycles, 0);
    }
    fixture_finish(&fixture);
}

/* A script that is too large from the start is told so once, and not recycled for ever. */
static void a_threshold_that_is_too_low(void **context)
{
    struct fixture fixture;
    struct answer answer;
    struct trial trial;
    unsigned recycles = 0, lines = 0;
    (void)context;
    open_with(&fixture, 5, 512 * KIB);
    fixture_run(&fixture, "local large = ('x'):rep(1000000) return function() return 'reject', #large end");
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(answer.log.level, LOG_WARNING);
    assert_non_null(strstr(answer.text, "recycle.memory is too low for this script"));
    for (int i = 0; i < 12; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
        recycles += trial.recycles;
        lines += trial.lines;
        if (trial.recycles > 0)
            assert_int_equal(trial.recycled.reason, WIRE_RECYCLE_MESSAGES);
    }
    assert_int_equal(recycles, 2);
    assert_int_equal(lines, 0);
    fixture_finish(&fixture);
}

/* Ends the worker in order; `line` is what its teardown logs, or why it failed. */
static void finish_with(struct fixture *fixture, const char *line)
{
    struct answer answer;
    fixture_send_stop(fixture);
    expect_type(fixture, &answer, WIRE_LOG);
    assert_string_equal(answer.text, line);
    assert_false(fixture_answer(fixture, &answer));
    assert_int_equal(fixture_wait(fixture), 0);
    fixture_close(fixture);
}

static void setup_and_teardown_run(void **context)
{
    static const char *const lines[] = { "teardown 2", "setup 0" };
    struct fixture fixture;
    struct trial trial;
    struct answer answer;
    (void)context;
    open_with(&fixture, 0, 0);
    fixture_write_text(&fixture, "handler.lua",
                       "local n = 0 local log = require 'log'\n"
                       "return { handle = function() n = n + 1 return 'reject', n end,\n"
                       "  setup = function() log.info('setup ' .. n) end,\n"
                       "  teardown = function() log.info('teardown ' .. n) end }");
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_LOG);
    expect_type(&fixture, &answer, WIRE_READY);
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    send_recycle(&fixture);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect_type(&fixture, &answer, WIRE_LOG);
        assert_string_equal(answer.text, lines[i]);
    }
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    assert_int_equal(trial.recycled.reason, WIRE_RECYCLE_ASKED);
    assert_int_equal(trial.recycled.messages, 2);
    assert_string_equal(trial.answer.text, "1");
    finish_with(&fixture, "teardown 1");
}

/* No teardown after a trip: the state is good for nothing more. */
static void a_trip_skips_teardown(void **context)
{
    struct fixture fixture;
    struct trial trial;
    (void)context;
    open_with(&fixture, 0, 0);
    fixture.limits.memory_bytes = 4096 * KIB;
    fixture_run(&fixture,
                "local log = require 'log'\n"
                "return { handle = function(data, message) if message.id == 'next' then return true end\n"
                "  local t = {} while true do t[#t + 1] = {} end end,\n"
                "  teardown = function() log.info('teardown') end }");
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    assert_int_equal(trial.answer.result.verdict, WIRE_OUT_OF_MEMORY);
    trial_next(&fixture, &trial, "after the trip");
    assert_int_equal(trial.lines, 0);
    assert_int_equal(trial.recycled.reason, WIRE_RECYCLE_OUT_OF_MEMORY);
    finish_with(&fixture, "teardown");
}

static void a_teardown_that_fails_is_told(void **context)
{
    static const char line[] = "teardown of handler.lua failed: handler.lua:1: no";
    struct fixture fixture;
    struct trial trial;
    (void)context;
    open_with(&fixture, 1, 0);
    fixture_run(&fixture, "return { handle = function() end, teardown = function() error('no') end }");
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
    assert_int_equal(trial.lines, 1);
    assert_string_equal(trial.line, line);
    assert_int_equal(trial.recycles, 1);
    fixture_close(&fixture);
}

/* Changed on disk since: the worker says why and goes; the host sees to another. */
static void a_script_that_loads_no_more(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    open_with(&fixture, 2, 0);
    fixture_run(&fixture, COUNTING);
    fixture_write_text(&fixture, "handler.lua", "return nothing at all");
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_RESULT);
    expect_type(&fixture, &answer, WIRE_RESULT);
    expect_type(&fixture, &answer, WIRE_FAILED);
    assert_non_null(strstr(answer.text, "handler.lua:1:"));
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 1);
    fixture_close(&fixture);
}

/* What a message brought is garbage after it, unless the script keeps it. The bodies are so large that
 * everything is collected before each message. */
static void nothing_of_a_message_stays(void **context)
{
    static const char script[] =
        "local seen = setmetatable({}, { __mode = 'v' })\n"
        "local ballast = {} for i = 1, 65 do ballast[i] = ('x'):rep(100000) .. i end\n"
        "return function(data, message)\n"
        "  local left = #ballast - 65 for _ in pairs(seen) do left = left + 1 end\n"
        "  seen[1], seen[2], seen[3] = data, message, message.headers\n"
        "  return 'reject', left end";
    enum { BODY_BYTES = 512 * 1024 };
    struct fixture fixture;
    struct trial trial;
    char *body = malloc(BODY_BYTES);
    (void)context;
    assert_non_null(body);
    memset(body, ' ', BODY_BYTES);
    body[0] = '[';
    body[1] = ']';
    open_with(&fixture, 0, 0);
    fixture.limits.memory_bytes = 8192 * KIB;
    fixture.limits.decode = WIRE_DECODE_JSON;
    fixture_run(&fixture, script);
    for (int i = 0; i < 4; i++) {
        assert_true(
            trial_deliver(&fixture, &(struct parcel){ .body = body, .body_bytes = BODY_BYTES }, &trial));
        assert_string_equal(trial.answer.text, "0");
    }
    free(body);
    fixture_finish(&fixture);
}

/* A deployment that turns a link does not reach states that are recycled: one worker runs one version. */
static void the_folder_stays_the_same(void **context)
{
    struct fixture fixture;
    struct trial trial;
    char link[128];
    (void)context;
    open_with(&fixture, 1, 0);
    fixture_make_folder(&fixture, "old");
    fixture_make_folder(&fixture, "new");
    fixture_write_text(&fixture, "old/handler.lua",
                       "local v = require 'v' return function() return 'reject', 'old, ' .. v end");
    fixture_write_text(&fixture, "old/v.lua", "return 'old'");
    fixture_write_text(&fixture, "new/handler.lua", "return function() return 'reject', 'new' end");
    fixture_write_text(&fixture, "new/v.lua", "return 'new'");
    fixture_link(&fixture, "old", "current");
    fixture.script = "current/handler.lua";
    fixture_start(&fixture);
    expect_type(&fixture, &trial.answer, WIRE_READY);
    (void)snprintf(link, sizeof link, "%s/current", fixture.folder);
    assert_int_equal(unlink(link), 0);
    fixture_link(&fixture, "new", "current");
    for (int i = 0; i < 3; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
        assert_string_equal(trial.answer.text, "old, old");
    }
    trial_finish(&fixture);
}

/* What is alive is near the quota, garbage is not: a collection before each message would take longer than
 * all messages. A weak entry tells of collections. */
static void near_the_quota_not_each_message_collects(void **context)
{
    enum { MESSAGES = 200 };
    static const char script[] =
        "local seen, collections = setmetatable({}, { __mode = 'v' }), 0\n"
        "local ballast = {} for i = 1, 73 do ballast[i] = ('x'):rep(100000) .. i end\n"
        "return function()\n"
        "  if #ballast == 73 and not seen[1] then collections = collections + 1 end\n"
        "  seen[1] = {}\n"
        "  return 'reject', collections end";
    struct fixture fixture;
    struct trial trial;
    char *end;
    (void)context;
    open_with(&fixture, 0, 0);
    fixture.limits.memory_bytes = 8192 * KIB;
    fixture_run(&fixture, script);
    for (int i = 0; i < MESSAGES; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ 0 }, &trial));
        assert_int_equal(trial.answer.result.verdict, WIRE_REJECT);
    }
    assert_in_range(strtoull(trial.answer.text, &end, 10), 1, MESSAGES / 10);
    fixture_finish(&fixture);
}

static void wait_heap_below(struct fixture *fixture, uint64_t bytes)
{
    const struct timespec pause = { .tv_nsec = 1000000 };
    int64_t until_ns = clock_now_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
    while (atomic_load(&fixture->board->heap_bytes) >= bytes) {
        assert_true(clock_now_ns() < until_ns);
        (void)nanosleep(&pause, NULL);
    }
}

/* The garbage of the last message goes while the worker rests, also where it is too soon at first, and where
 * others were under way and waited. */
static void garbage_goes_while_resting(void **context)
{
    static const uint32_t concurrencies[] = { 0, 4 };
    (void)context;
    for (size_t i = 0; i < sizeof concurrencies / sizeof concurrencies[0]; i++) {
        struct fixture fixture;
        struct trial trial;
        open_with(&fixture, 0, 0);
        fixture.limits.memory_bytes = 65536 * KIB;
        fixture.limits.concurrency = concurrencies[i];
        fixture_run(&fixture, HANDLER("local t = {} for n = 1, 5000 do t[n] = { n } end\n"
                                      "t = { ('x'):rep(1e6) .. message.id, ('y'):rep(1e6) .. message.id }\n"
                                      "sleep('20ms') return #t == 2"));
        for (int n = 0; n < 5; n++) {
            assert_true(trial_deliver(&fixture, &(struct parcel){ .id = n % 2 ? "a" : "b" }, &trial));
            assert_int_equal(trial.answer.result.verdict, WIRE_ACK);
            wait_heap_below(&fixture, 1024 * KIB);
        }
        fixture_finish(&fixture);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_so_many_messages),
        cmocka_unit_test(when_what_lives_is_too_large),
        cmocka_unit_test(never_for_garbage),
        cmocka_unit_test(a_threshold_that_is_too_low),
        cmocka_unit_test(setup_and_teardown_run),
        cmocka_unit_test(a_trip_skips_teardown),
        cmocka_unit_test(a_teardown_that_fails_is_told),
        cmocka_unit_test(a_script_that_loads_no_more),
        cmocka_unit_test(nothing_of_a_message_stays),
        cmocka_unit_test(the_folder_stays_the_same),
        cmocka_unit_test(near_the_quota_not_each_message_collects),
        cmocka_unit_test(garbage_goes_while_resting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
