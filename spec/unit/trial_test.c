/* One worker on trial: outcomes, limits that are really kept, replacement, logs, the cache; see
 * runtime/test/trial.c. The test program is its own worker. */
#include "common/clock.h"
#include "test/trial.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64] = "/tmp/moonrabbit-trial-XXXXXX";
static char script[96];
static struct config config;
static struct consumer_config consumer;
static struct trial trial;

static void write_script(const char *text)
{
    FILE *file = fopen(script, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    static char queue[] = "trial";
    config = (struct config){
        .cache = { .memory_bytes = 1 << 20, .entries = 100, .ttl_ns = 3600 * CLOCK_NS_PER_SECOND },
        .log_level = LOG_INFO,
        .sandbox = { .seccomp = CONFIG_SECCOMP_ON },
    };
    consumer = (struct consumer_config){
        .name = queue,
        .queue = queue,
        .handler = script,
        .limits = { .memory_bytes = 8 << 20,
                    .deadline_ns = 10 * CLOCK_NS_PER_SECOND,
                    .grace_ns = CLOCK_NS_PER_SECOND,
                    .message_bytes = 1 << 20 },
        .recycle = { .messages = 1000, .memory_bytes = 6 << 20 },
        .retry = { .attempts = 5 },
    };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    trial_clear(&trial);
    return 0;
}

static void start(const char *text)
{
    struct error error;
    write_script(text);
    if (!trial_init(&trial, &config, &consumer, &error))
        fail_msg("%s", error.text);
}

static struct trial_outcome deliver_at(const char *body, uint32_t attempt)
{
    const struct trial_message message = { .body = slice_of(body), .attempt = attempt };
    struct trial_outcome outcome;
    struct error error;
    if (!trial_deliver(&trial, &message, &outcome, &error))
        fail_msg("%s", error.text);
    return outcome;
}

static struct trial_outcome deliver(const char *body)
{
    return deliver_at(body, 1);
}

static void verdicts(void **state)
{
    (void)state;
    start("return function(word) if word == 'raise' then error('no luck', 0) end return word, 'because' end");
    struct trial_outcome outcome = deliver("ack");
    assert_int_equal(outcome.verdict, WIRE_ACK);
    assert_int_equal(outcome.cause, TRIAL_NONE);
    assert_int_equal(outcome.ruling, RULING_ACK);
    assert_true(outcome.elapsed_ns > 0 && outcome.heap_bytes > 0);
    outcome = deliver("reject");
    assert_int_equal(outcome.verdict, WIRE_REJECT);
    assert_string_equal(outcome.text, "because");
    assert_int_equal(outcome.ruling, RULING_GIVE_UP);
    outcome = deliver("raise");
    assert_int_equal(outcome.verdict, WIRE_ERROR);
    assert_int_equal(outcome.cause, TRIAL_RAISED);
    assert_memory_equal(outcome.text, "no luck\nstack traceback:", 24);
    assert_int_equal(outcome.ruling, RULING_RETRY);
    assert_int_equal(deliver_at("raise", 5).ruling, RULING_GIVE_UP);
    assert_int_equal(trial.processes, 1);
}

static void a_script_that_does_not_load(void **state)
{
    (void)state;
    struct error error;
    write_script("return nonsense.at.all");
    assert_false(trial_init(&trial, &config, &consumer, &error));
    assert_int_equal(error.code, ERROR_USAGE);
    assert_non_null(strstr(error.text, "nonsense"));
}

/* Compiled loops hear of no deadline: only the kill ends them. */
static void a_runaway_is_killed_and_replaced(void **state)
{
    (void)state;
    consumer.limits.deadline_ns = 400 * CLOCK_NS_PER_MS;
    consumer.limits.grace_ns = 100 * CLOCK_NS_PER_MS;
    start("return function(word) if word == 'spin' then string.find(('a'):rep(40), ('a*'):rep(40) .. 'b') "
          "end end");
    struct trial_outcome outcome = deliver("spin");
    assert_int_equal(outcome.verdict, WIRE_ERROR);
    assert_int_equal(outcome.cause, TRIAL_KILLED);
    assert_non_null(strstr(outcome.text, "limits.deadline and limits.grace (500ms together)"));
    assert_int_equal(outcome.ruling, RULING_RETRY);
    assert_true(outcome.elapsed_ns >= 400 * CLOCK_NS_PER_MS);
    assert_int_equal(deliver("walk").verdict, WIRE_ACK);
    assert_int_equal(trial.processes, 2);
}

/* Loading that hangs is given up, and says so. */
static void loading_that_hangs(void **state)
{
    (void)state;
    struct error error;
    consumer.limits.deadline_ns = consumer.limits.grace_ns = 10 * CLOCK_NS_PER_MS;
    write_script("string.find(('a'):rep(40), ('a*'):rep(40) .. 'b') return function() end");
    assert_false(trial_init(&trial, &config, &consumer, &error));
    assert_non_null(strstr(error.text, "limits.deadline"));
    assert_int_equal(trial.processes, 0);
}

static void limits_are_kept(void **state)
{
    (void)state;
    static char large[(1 << 20) + 2];
    start("return function(word) if word == 'hoard' then local t = {} "
          "for i = 1, 1e7 do t[i] = ('x'):rep(1000) .. i end end end");
    struct trial_outcome outcome = deliver("hoard");
    assert_int_equal(outcome.cause, TRIAL_MEMORY);
    assert_int_equal(deliver("rest").verdict, WIRE_ACK);
    assert_int_equal(trial.recycled[WIRE_RECYCLE_OUT_OF_MEMORY], 1);
    memset(large, 'x', sizeof large - 1);
    outcome = deliver(large);
    assert_int_equal(outcome.cause, TRIAL_SIZE);
    assert_int_equal(outcome.ruling, RULING_GIVE_UP);
}

static unsigned lines_in(struct slice frames, const char *wanted)
{
    struct wire_frame frame;
    unsigned count = 0;
    while (wire_next(frames, WIRE_REPORT_MAX, &frame) == WIRE_FRAME) {
        size_t size = WIRE_HEADER_BYTES + frame.payload.size;
        count += memmem(frame.payload.data, frame.payload.size, wanted, strlen(wanted)) != NULL;
        frames = (struct slice){ .data = frames.data + size, .size = frames.size - size };
    }
    return count;
}

static unsigned lines_of_message(const char *wanted)
{
    return lines_in((struct slice){ .data = trial.logs.data, .size = trial.logs.size }, wanted);
}

/* A message's own lines, and no others, whatever the states in between. */
static void logs(void **state)
{
    (void)state;
    consumer.recycle.messages = 2;
    start("local log = require 'log' return { setup = function() log.info('setting up') end, "
          "handle = function(word) log.info(word) log.debug('unheard') end }");
    for (int i = 0; i < 10; i++) {
        (void)deliver("hello");
        assert_int_equal(lines_of_message("hello"), 1);
        assert_int_equal(lines_of_message("setting up") + lines_of_message("unheard"), 0);
    }
    trial_stop(&trial);
    assert_int_equal(trial.recycled[WIRE_RECYCLE_MESSAGES], 5);
    assert_int_equal(
        lines_in((struct slice){ .data = trial.loose.data, .size = trial.loose.size }, "setting up"), 6);
}

static void recycling_tells_what_lives(void **state)
{
    (void)state;
    struct wire_recycled fresh, full, empty;
    struct error error;
    start("local kept = {} return function(word) local text = ('x'):rep(1000000) "
          "if word == 'keep' then kept[1] = text end end");
    assert_true(trial_recycle(&trial, &fresh, &error));
    (void)deliver("keep");
    assert_true(trial_recycle(&trial, &full, &error));
    (void)deliver("drop");
    assert_true(trial_recycle(&trial, &empty, &error));
    assert_int_equal(full.messages, 1);
    assert_in_range(full.heap_bytes - fresh.heap_bytes, 1000000, 1200000);
    assert_true(empty.heap_bytes < fresh.heap_bytes + 200000);
}

static void the_cache_outlives_workers(void **state)
{
    (void)state;
    struct error error;
    struct wire_recycled recycled;
    start("local cache = require 'cache' return function() return 'reject', cache.incr('n', 1, 0, '1h') end");
    assert_string_equal(deliver("").text, "1");
    assert_true(trial_recycle(&trial, &recycled, &error));
    assert_string_equal(deliver("").text, "2");
    worker_kill(trial.worker);
    assert_string_equal(deliver("").text, "3");
    cache_move_clock(&trial.cache, 2 * 3600 * CLOCK_NS_PER_SECOND);
    assert_string_equal(deliver("").text, "1");
    assert_int_equal(trial.processes, 2);
}

static int make_folder(void **state)
{
    (void)state;
    log_open(STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_INFO);
    if (!mkdtemp(folder))
        return -1;
    return snprintf(script, sizeof script, "%s/handler.lua", folder) > 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(script);
    return rmdir(folder);
}

#define ON_TRIAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "@worker") == 0)
        return worker_main();
    const struct CMUnitTest tests[] = {
        ON_TRIAL(verdicts),
        ON_TRIAL(a_script_that_does_not_load),
        ON_TRIAL(a_runaway_is_killed_and_replaced),
        ON_TRIAL(loading_that_hangs),
        ON_TRIAL(limits_are_kept),
        ON_TRIAL(logs),
        ON_TRIAL(recycling_tells_what_lives),
        ON_TRIAL(the_cache_outlives_workers),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
