/* The life of a worker: batches, the tick, what the host takes back, its ends; see worker/worker.c. */
#include "worker_fixture.h"

#include "common/clock.h"

#define HANDLER(body) "return function(data, message) " body " end"

/* Says at once that it has begun, then runs until it is killed. */
#define SPIN "require('log').info('spinning') while true do end"

static void a_batch_is_answered_in_order(void **context)
{
    enum { COUNT = 1000 };
    struct fixture fixture;
    struct buffer batch;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("return 'reject', data"));
    buffer_init(&batch, 1 << 20);
    for (int i = 1; i <= COUNT; i++) {
        char body[16];
        (void)snprintf(body, sizeof body, "%d", i);
        add_delivery(&batch, &fixture, &(struct parcel){ .body = body });
    }
    fixture_send(&fixture, batch.data, batch.size);
    for (int i = 1; i <= COUNT; i++) {
        expect_type(&fixture, &answer, WIRE_RESULT);
        assert_int_equal(answer.result.seq, i);
        assert_int_equal(answer.result.slot, i + 1000);
        assert_int_equal(answer.result.verdict, WIRE_REJECT);
        char expected[16];
        (void)snprintf(expected, sizeof expected, "%d", i);
        assert_string_equal(answer.text, expected);
        assert_true(answer.result.elapsed_ns >= 0);
    }
    assert_int_equal(atomic_load(&fixture.board->started), COUNT);
    buffer_clear(&batch);
    fixture_finish(&fixture);
}

/* Frames may come in any pieces. */
static void frames_come_byte_by_byte(void **context)
{
    struct fixture fixture;
    struct buffer frames;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("return 'reject', data"));
    buffer_init(&frames, 4096);
    add_delivery(&frames, &fixture, &(struct parcel){ .body = "one", .id = "1" });
    add_delivery(&frames, &fixture, &(struct parcel){ .body = "two", .id = "2" });
    for (size_t i = 0; i < frames.size; i++)
        fixture_send(&fixture, frames.data + i, 1);
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_string_equal(answer.text, "one");
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_string_equal(answer.text, "two");
    buffer_clear(&frames);
    fixture_finish(&fixture);
}

/* The results of what came before reach the host while a handler runs, however long: by the tick. */
static void a_slow_message_holds_nothing_back(void **context)
{
    enum { BEFORE = 3 };
    struct fixture fixture;
    struct buffer batch;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("if data == 'slow' then while true do end end"));
    buffer_init(&batch, 4096);
    for (int i = 0; i < BEFORE; i++)
        add_delivery(&batch, &fixture, &(struct parcel){ .body = "quick" });
    add_delivery(&batch, &fixture, &(struct parcel){ .body = "slow" });
    fixture_send(&fixture, batch.data, batch.size);
    for (int i = 1; i <= BEFORE; i++) {
        expect_type(&fixture, &answer, WIRE_RESULT);
        assert_int_equal(answer.result.seq, i);
    }
    buffer_clear(&batch);
    fixture_close(&fixture);
}

/* An armed timer would wake the process twenty times in between. */
static void wait_until_it_sleeps(pid_t pid)
{
    const struct timespec spell = { .tv_nsec = 100000000 };
    long long before;
    for (int patience = PATIENCE_MS / 100; patience > 0; patience--) {
        before = status_of(pid, "voluntary_ctxt_switches:");
        (void)nanosleep(&spell, NULL);
        if (status_of(pid, "voluntary_ctxt_switches:") == before)
            return;
    }
    fail_msg("the worker goes on waking up");
}

/* The timer disarms itself when nothing happens, and is armed again by the next message. */
static void the_tick_rests_and_comes_back(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER(SPIN));
    wait_until_it_sleeps(fixture.pid);
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_string_equal(answer.text, "spinning");
    fixture_close(&fixture);
}

static void what_the_host_took_back_is_skipped(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("return 'reject', 'called'"));
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_REJECT);
    assert_int_equal(board_revoke(fixture.board, 2), 2);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_SKIPPED);
    assert_string_equal(answer.text, "");
    board_allow(fixture.board);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_REJECT);
    fixture_finish(&fixture);
}

static void stop_answers_what_came_before_and_runs_teardown(void **context)
{
    static const char script[] = "local log = require 'log'\n"
                                 "return { handle = function() return 'requeue' end,\n"
                                 "  teardown = function() log.info('torn down') end }";
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, script);
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    fixture_send_stop(&fixture);
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_int_equal(answer.result.verdict, WIRE_REQUEUE);
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_int_equal(answer.result.seq, 2);
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_string_equal(answer.text, "torn down");
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

static void setup_runs_once_before_the_first_message(void **context)
{
    static const char script[] = "local log, runs = require 'log', 0\n"
                                 "return { setup = function() runs = runs + 1 log.info('setting up') end,\n"
                                 "  handle = function() return 'reject', runs end }";
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_write_text(&fixture, "handler.lua", script);
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_LOG);
    expect_type(&fixture, &answer, WIRE_READY);
    for (int i = 0; i < 2; i++) {
        fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
        assert_string_equal(answer.text, "1");
    }
    fixture_finish(&fixture);
}

static void the_end_of_the_socket_is_the_end(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, "return { handle = print, teardown = function() while true do end end }");
    assert_int_equal(shutdown(fixture.fd, SHUT_WR), 0);
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

static void signals_of_the_group_are_ignored(void **context)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGALRM };
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("return true"));
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(kill(fixture.pid, signals[i]), 0);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    fixture_finish(&fixture);
}

static void frames_that_are_none_end_the_worker(void **context)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        { "\377\377\377\377\002\000\000\000", 8 }, /* too large */
        { "\000\000\000\000\002\001\000\000", 8 }, /* a header with more in it */
        { "\000\000\000\000\002\000\000\000", 8 }, /* a delivery without anything */
        { "\000\000\000\000\020\000\000\000", 8 }, /* what only a worker sends */
        { "\000\000\000\000\001\000\000\000", 8 }, /* a second setup */
        { "", 0 },                                 /* nothing: the socket just ends */
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        fixture_open(&fixture);
        fixture_run(&fixture, HANDLER(""));
        fixture_send(&fixture, cases[i].bytes, cases[i].size);
        assert_int_equal(shutdown(fixture.fd, SHUT_WR), 0);
        assert_int_equal(fixture_wait(&fixture), cases[i].size ? 70 : 0);
        fixture_close(&fixture);
    }
}

static void a_delivery_that_does_not_add_up_ends_the_worker(void **context)
{
    static const char too_long[] = { WIRE_EXCHANGE, 5, 0, 0, 0, 'x' };
    static const char half_a_head[] = { WIRE_EXCHANGE, 0 };
    static const char wide_mode[] = { WIRE_DELIVERY_MODE, 2, 0, 0, 0, 'x', 'x' };
    static const char short_time[] = { WIRE_TIMESTAMP, 1, 0, 0, 0, 'x' };
    static const struct slice cases[] = {
        { too_long, sizeof too_long },
        { half_a_head, sizeof half_a_head },
        { wide_mode, sizeof wide_mode },
        { short_time, sizeof short_time },
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        fixture_open(&fixture);
        fixture_run(&fixture, HANDLER(""));
        fixture_deliver(&fixture, &(struct parcel){ .attributes = cases[i] });
        assert_int_equal(fixture_wait(&fixture), 70);
        fixture_close(&fixture);
    }
}

static void a_first_frame_that_is_no_setup_ends_the_worker(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_spawn(&fixture);
    fixture_deliver(&fixture, &(struct parcel){ .body = "too early" });
    assert_int_equal(fixture_wait(&fixture), 70);
    fixture_close(&fixture);
}

static void a_host_that_is_gone_at_once_is_the_end(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_spawn(&fixture);
    assert_int_equal(shutdown(fixture.fd, SHUT_RDWR), 0);
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

static long long resident_kib(pid_t pid)
{
    return status_of(pid, "RssAnon:");
}

/* The socket stays open here: it is the death of its parent that ends the worker. */
static void a_worker_does_not_outlive_its_host(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.nested = true;
    fixture_run(&fixture, HANDLER(SPIN));
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(kill(fixture.pid, SIGKILL), 0);
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 128 + SIGKILL);
    fixture_close(&fixture);
}

static void bodies_up_to_the_limit(void **context)
{
    struct fixture fixture;
    struct answer answer;
    char *body = malloc(MESSAGE_MAX);
    (void)context;
    assert_non_null(body);
    memset(body, 'x', MESSAGE_MAX);
    fixture_open(&fixture);
    fixture.limits.decode = WIRE_DECODE_RAW;
    fixture_run(
        &fixture,
        HANDLER("if data == 'collect' then local t = {} for i = 1, 2e6 do t[1] = { i } end return end\n"
                "return 'reject', #data .. ' ' .. #message.body .. ' ' .. message.id"));
    static const size_t sizes[] = { 1, 65000, 65536, 65537, 1000000, MESSAGE_MAX, MESSAGE_MAX };
    fixture_try(&fixture, &(struct parcel){ .body = "collect" }, &answer);
    long long before_kib = resident_kib(fixture.pid);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char expected[64];
        fixture_try(&fixture, &(struct parcel){ .body = body, .body_bytes = sizes[i], .id = "m" }, &answer);
        (void)snprintf(expected, sizeof expected, "%zu %zu m", sizes[i], sizes[i]);
        assert_string_equal(answer.text, expected);
    }
    /* Once the garbage is collected, nothing is left of the large bodies, in the input neither. */
    fixture_try(&fixture, &(struct parcel){ .body = "collect" }, &answer);
    assert_true(resident_kib(fixture.pid) < before_kib + MESSAGE_MAX / 1024 / 2);
    free(body);
    fixture_finish(&fixture);
}

/* Its memory can hold another body as soon as it is answered: nothing of the last is seen then. */
static void bodies_on_the_shelf(void **context)
{
    static const struct {
        uint32_t at;
        size_t bytes;
        const char *text;
    } cases[] = { { 0, SHELF_BYTES, "1048576 a" },
                  { 0, 16384, "16384 b" },
                  { SHELF_BYTES - 1, 1, "1 c" },
                  { 77, 65536, "65536 d" } };
    struct fixture fixture;
    struct answer answer;
    char *body = malloc(SHELF_BYTES);
    (void)context;
    assert_non_null(body);
    fixture_open(&fixture);
    fixture.limits.decode = WIRE_DECODE_RAW;
    fixture_run(&fixture,
                "local kept\n" HANDLER("assert(data == message.body and data == data:sub(1, 1):rep(#data))\n"
                                       "assert(not kept or kept == kept:sub(1, 1):rep(#kept)) kept = data\n"
                                       "return 'reject', #data .. ' ' .. data:sub(-1)"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(body, 'a' + (int)i, cases[i].bytes);
        fixture_try(&fixture,
                    &(struct parcel){
                        .body = body, .body_bytes = cases[i].bytes, .laid = true, .laid_at = cases[i].at },
                    &answer);
        assert_string_equal(answer.text, cases[i].text);
    }
    free(body);
    fixture_finish(&fixture);
}

static void a_body_beyond_the_shelf_ends_the_worker(void **context)
{
    static const struct parcel beyond[] = {
        { .body = "xx", .laid = true, .laid_at = SHELF_BYTES - 1 },
        { .body = "x", .laid = true, .laid_at = SHELF_BYTES },
        { .body = "x", .laid = true, .laid_at = UINT32_MAX },
    };
    (void)context;
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        for (unsigned concurrency = 1; concurrency <= 2; concurrency++) {
            struct fixture fixture;
            fixture_open(&fixture);
            fixture.limits.concurrency = concurrency;
            fixture_run(&fixture, HANDLER(""));
            fixture_deliver(&fixture, &beyond[i]);
            assert_int_equal(fixture_wait(&fixture), 70);
            fixture_close(&fixture);
        }
    }
}

/* Whether the process has something of this name mapped with these rights. */
static bool is_mapped(pid_t pid, const char *name, const char *rights)
{
    char path[64], line[512];
    bool found = false;
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        found = found || (strstr(line, name) && strstr(line, rights));
    assert_int_equal(fclose(file), 0);
    return found;
}

static void a_worker_only_reads_its_shelf(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER(""));
    assert_true(is_mapped(fixture.pid, "moonrabbit-shelf", " r--s "));
    assert_false(is_mapped(fixture.pid, "moonrabbit-shelf", " rw-s "));
    fixture_finish(&fixture);
}

static void a_body_over_the_limit_is_no_frame(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.message_bytes = 100;
    fixture_run(&fixture, HANDLER(""));
    const struct wire_deliver deliver = { .seq = 1, .body_bytes = 100 + WIRE_ATTRIBUTES_MAX + 1 };
    char head[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    wire_stamp_deliver(head, &deliver);
    fixture_send(&fixture, head, sizeof head);
    assert_int_equal(fixture_wait(&fixture), 70);
    fixture_close(&fixture);
}

static void log_lines(void **context)
{
    static const char script[] =
        HANDLER("local log, cjson = require 'log', require 'cjson'\n"
                "log.debug('not sent', { x = 1 })\n"
                "log.warn('disk', { used = 0.5, id = 9007199254740992, full = false, host = 'a b', none = "
                "cjson.null,\n"
                "  list = {}, nan = 0/0, [1] = 'one', ['bad key=\"'] = 'v', [{}] = 'dropped' })\n"
                "log.error(nil, 'no table')\n"
                "log.info(12)\n"
                "log.info()\n"
                "print('a', nil, 7)\n");
    static const struct {
        const char *key, *value;
    } fields[] = {
        { "used", "0.5" },  { "id", "9007199254740992" }, { "full", "false" }, { "host", "a b" },
        { "none", "null" }, { "list", "table" },          { "1", "one" },      { "bad_key__", "v" },
    };
    char value[2048];
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, script);
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(answer.log.level, LOG_WARNING);
    assert_string_equal(answer.text, "disk");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        assert_non_null(log_field_of(&answer, fields[i].key, value));
        assert_string_equal(value, fields[i].value);
    }
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(answer.log.level, LOG_ERROR);
    assert_string_equal(answer.text, "nil");
    assert_string_equal(log_field_of(&answer, "detail", value), "no table");
    static const char *const lines[] = { "12", "nil", "a\tnil\t7" };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect_type(&fixture, &answer, WIRE_LOG);
        assert_int_equal(answer.log.level, LOG_INFO);
        assert_string_equal(answer.text, lines[i]);
    }
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    fixture_finish(&fixture);
}

static void log_lines_are_bounded(void **context)
{
    static const char script[] = HANDLER("local fields = {}\n"
                                         "for i = 10, 99 do fields['f' .. i] = ('v'):rep(1e6) end\n"
                                         "fields[('k'):rep(1e6)] = 1\n"
                                         "require('log').info(('m'):rep(1e6), fields)");
    enum { FIELDS = 16, VALUE_BYTES = 1024, MESSAGE_BYTES = 2048 };
    struct fixture fixture;
    struct answer answer;
    char value[2048], key[16];
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, script);
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(strlen(answer.text), MESSAGE_BYTES);
    for (int i = 0; i < FIELDS; i++) {
        (void)snprintf(key, sizeof key, "f%d", 10 + i);
        assert_non_null(log_field_of(&answer, key, value));
        assert_int_equal(strlen(value), VALUE_BYTES);
    }
    assert_null(log_field_of(&answer, "f26", value));
    expect_type(&fixture, &answer, WIRE_RESULT);
    fixture_finish(&fixture);
}

/* A script that logs faster than the host reads waits; the worker does not grow. */
static void a_flood_of_log_lines_is_all_sent(void **context)
{
    enum { LINES = 20000 };
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture,
                HANDLER("local log = require 'log' for i = 1, 20000 do log.info(('x'):rep(2000)) end"));
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    for (int i = 0; i < LINES; i++) {
        expect_type(&fixture, &answer, WIRE_LOG);
        assert_int_equal(strlen(answer.text), 2000);
    }
    expect_type(&fixture, &answer, WIRE_RESULT);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    assert_in_range(resident_kib(fixture.pid), 0, 100000);
    fixture_finish(&fixture);
}

/* What the board says is what a host looks at to find a message that runs too long. */
static void the_board_tells_what_runs(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER(SPIN));
    int64_t before_ns = clock_now_ns();
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(atomic_load(&fixture.board->started), 1);
    assert_true(atomic_load(&fixture.board->started_ns) >= before_ns);
    assert_true(atomic_load(&fixture.board->started_ns) <= clock_now_ns());
    assert_true(atomic_load(&fixture.board->heap_bytes) > 0);
    fixture_close(&fixture);
}

static void a_worker_has_no_descriptor_to_spare(void **context)
{
    struct fixture fixture;
    char path[64];
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER(""));
    for (int fd = INHERITED_END; fd < 32; fd++) {
        struct stat status;
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)fixture.pid, fd);
        assert_int_equal(lstat(path, &status), -1);
    }
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_answered_in_order),
        cmocka_unit_test(frames_come_byte_by_byte),
        cmocka_unit_test(a_slow_message_holds_nothing_back),
        cmocka_unit_test(the_tick_rests_and_comes_back),
        cmocka_unit_test(what_the_host_took_back_is_skipped),
        cmocka_unit_test(stop_answers_what_came_before_and_runs_teardown),
        cmocka_unit_test(setup_runs_once_before_the_first_message),
        cmocka_unit_test(the_end_of_the_socket_is_the_end),
        cmocka_unit_test(signals_of_the_group_are_ignored),
        cmocka_unit_test(frames_that_are_none_end_the_worker),
        cmocka_unit_test(a_delivery_that_does_not_add_up_ends_the_worker),
        cmocka_unit_test(a_first_frame_that_is_no_setup_ends_the_worker),
        cmocka_unit_test(a_host_that_is_gone_at_once_is_the_end),
        cmocka_unit_test(a_worker_does_not_outlive_its_host),
        cmocka_unit_test(bodies_up_to_the_limit),
        cmocka_unit_test(bodies_on_the_shelf),
        cmocka_unit_test(a_body_beyond_the_shelf_ends_the_worker),
        cmocka_unit_test(a_worker_only_reads_its_shelf),
        cmocka_unit_test(a_body_over_the_limit_is_no_frame),
        cmocka_unit_test(log_lines),
        cmocka_unit_test(log_lines_are_bounded),
        cmocka_unit_test(a_flood_of_log_lines_is_all_sent),
        cmocka_unit_test(the_board_tells_what_runs),
        cmocka_unit_test(a_worker_has_no_descriptor_to_spare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
