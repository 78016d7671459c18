/* How long a recycle keeps the next message waiting: what the worker itself measured, for each of RECYCLES
 * new states, one every MESSAGES messages. Tells {"pause_ns":[...]}. */
#include "worker_load.h"

enum { RECYCLES = 500, MESSAGES = 1000, BATCHES = RECYCLES * MESSAGES / LOAD_BATCH };

#define HANDLER                                                                                              \
    "return function(order)\n"                                                                               \
    "  local total = 0\n"                                                                                    \
    "  for _, item in ipairs(order.items) do total = total + item.quantity * item.price end\n"               \
    "  if total == order.total then return 'reject', 'too good to be true' end\n"                            \
    "end"

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

static void pauses(void **context)
{
    bool first = true;
    const struct parcel order = { .body = LOAD_ORDER, .content_type = "application/json", .id = "123456" };
    struct load load = { .parcel = &order, .told = print_pause, .data = &first };
    (void)context;
    fixture_open(&load.fixture);
    load.fixture.limits.recycle_messages = MESSAGES;
    fixture_run(&load.fixture, HANDLER);
    (void)printf("\n{\"pause_ns\":[");
    load_run(&load, BATCHES);
    (void)printf("]}\n");
    fixture_finish(&load.fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pauses) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
