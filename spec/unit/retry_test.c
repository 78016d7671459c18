/* The retry policy: waits, the ladder of steps, the names of delay queues. */
#include "host/retry.h"

#include "common/clock.h"

#include "tools.h"

#include <stdio.h>

#define MS INT64_C(1000000)

static const struct retry_policy policy = {
    .attempts = 10, .delay_ns = 1000 * MS, .factor = 2, .max_delay_ns = 60000 * MS, .jitter = 0
};

static void test_waits_grow_to_the_longest(void **state)
{
    (void)state;
    static const int64_t wanted_ms[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
    for (uint32_t attempt = 1; attempt <= COUNT_OF(wanted_ms); attempt++)
        assert_int_equal(retry_wait_ns(&policy, attempt, 0.3), wanted_ms[attempt - 1] * MS);
    assert_int_equal(retry_wait_ns(&policy, UINT32_MAX, 1), 60000 * MS);
}

static void test_policies_at_their_edges(void **state)
{
    (void)state;
    struct retry_policy none = { .attempts = 2, .factor = 100, .max_delay_ns = 0 };
    struct retry_policy flat = { .attempts = 2, .delay_ns = 5 * MS, .factor = 1, .max_delay_ns = 10 * MS };
    struct retry_policy longest = { .attempts = 1000,
                                    .delay_ns = RETRY_WAIT_MAX_NS,
                                    .factor = 100,
                                    .max_delay_ns = RETRY_WAIT_MAX_NS,
                                    .jitter = 1 };
    assert_int_equal(retry_wait_ns(&none, 1, 1), 0);
    assert_int_equal(retry_wait_ns(&none, 1000, 1), 0);
    assert_int_equal(retry_wait_ns(&flat, 999, 1), 5 * MS);
    assert_int_equal(retry_wait_ns(&longest, 1000, 1), RETRY_WAIT_MAX_NS);
    assert_int_equal(retry_wait_ns(&longest, 1000, 0), RETRY_WAIT_MAX_NS / 2);
}

static void test_jitter_spreads_to_both_sides(void **state)
{
    (void)state;
    struct retry_policy spread = policy;
    spread.jitter = 0.1;
    assert_int_equal(retry_wait_ns(&spread, 1, 0.5), 1000 * MS);
    assert_in_range(retry_wait_ns(&spread, 1, 0), 949 * MS, 951 * MS);
    assert_in_range(retry_wait_ns(&spread, 1, 1), 1049 * MS, 1051 * MS);
}

static void test_a_wait_that_the_handler_names(void **state)
{
    (void)state;
    assert_int_equal(retry_chosen_wait_ns(&policy, 3, -1, 0.3), 4000 * MS);
    assert_int_equal(retry_chosen_wait_ns(&policy, 3, 0, 0.3), 0);
    assert_int_equal(retry_chosen_wait_ns(&policy, 3, 90000 * MS, 1), 90000 * MS);
    assert_int_equal(retry_chosen_wait_ns(&policy, 3, INT64_MAX, 0), RETRY_WAIT_MAX_NS);
}

/* No step is shorter than the wait, nor longer by more than is promised; and there are not many of them. */
static void test_the_ladder(void **state)
{
    (void)state;
    unsigned steps = 0;
    int64_t before = 0;
    for (int64_t wait = 1; wait <= RETRY_WAIT_MAX_NS / MS; wait += 1 + wait / 1000) {
        int64_t step = retry_step_ms(wait);
        assert_true(step >= wait);
        assert_true(step - wait <= 100 || (step - wait) * 100 <= wait * RETRY_STEP_PERCENT);
        assert_true(step >= before);
        steps += step != before;
        before = step;
    }
    assert_in_range(steps, 100, 130);
    assert_int_equal(retry_step_ms(1), RETRY_FIRST_STEP_MS);
    assert_int_equal(retry_step_ms(RETRY_FIRST_STEP_MS), RETRY_FIRST_STEP_MS);
    assert_int_equal(retry_step_ms(RETRY_FIRST_STEP_MS + 1), 115);
}

static void test_names(void **state)
{
    (void)state;
    char name[RETRY_QUEUE_NAME_MAX], other[RETRY_QUEUE_NAME_MAX], queue[256];
    retry_queue_name("orders", 100, name);
    assert_string_equal(name, "orders.retry.100");
    assert_int_equal(retry_queue_prefix("orders", other), strlen("orders.retry."));
    /* The longest names that AMQP has stay different from each other, and fit. */
    memset(queue, 'q', sizeof queue - 1);
    queue[255] = '\0';
    retry_queue_name(queue, INT64_C(2980000000), name);
    assert_true(strlen(name) <= 255);
    queue[254] = 'r';
    retry_queue_name(queue, INT64_C(2980000000), other);
    assert_string_not_equal(name, other);
    queue[230] = '\0';
    retry_queue_name(queue, INT64_C(2980000000), name);
    assert_int_equal(strlen(name), 230 + strlen(".retry.2980000000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_grow_to_the_longest),
        cmocka_unit_test(test_policies_at_their_edges),
        cmocka_unit_test(test_jitter_spreads_to_both_sides),
        cmocka_unit_test(test_a_wait_that_the_handler_names),
        cmocka_unit_test(test_the_ladder),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
