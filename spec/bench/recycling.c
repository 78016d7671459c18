/* recycling EVERY: one worker under MESSAGES messages, with a new Lua state every EVERY of them; 0 is never.
 * Tells {"pause_ns":[...],"cpu_ns":N}: how long each recycle kept the next message waiting, as the worker
 * itself measured it, and the worker's processor time for one message. */
#include "worker_load.h"

#include <sys/resource.h>

enum { BATCHES = 5001, MESSAGES = BATCHES * LOAD_BATCH };

static uint64_t every;

static void print_pause(const struct answer *answer, void *data)
{
    struct slice payload = answer->attributes;
    struct wire_recycled recycled;
    bool *first = data;
    assert_int_equal(answer->type, WIRE_RECYCLED);
    assert_true(wire_take_recycled(&payload, &recycled));
    (void)printf("%s%lld", *first ? "" : ",", (long long)recycled.pause_ns);
    *first = false;
}

/* Of the children that were waited for. */
static long long cpu_ns(void)
{
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &used), 0);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void measure(void **context)
{
    bool first = true;
    const struct parcel order = { .body = LOAD_ORDER, .content_type = "application/json", .id = "123456" };
    struct load load = { .parcel = &order, .told = print_pause, .data = &first };
    (void)context;
    fixture_open(&load.fixture);
    load.fixture.limits.recycle_messages = every;
    fixture_run(&load.fixture, LOAD_HANDLER);
    (void)printf("\n{\"pause_ns\":[");
    load_run(&load, BATCHES);
    fixture_finish(&load.fixture);
    (void)printf("],\"cpu_ns\":%lld}\n", cpu_ns() / MESSAGES);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(measure) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    char *end;
    every = count > 1 ? strtoull(arguments[1], &end, 10) : 0;
    return fixture_main(count, arguments, all_tests);
}
