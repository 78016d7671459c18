/* The rate of messages: how many go out in a span of time, at once and in the long run. */
#include "host/rate.h"

#include "common/clock.h"

#include "tools.h"

#define SECOND CLOCK_NS_PER_SECOND

static unsigned taken_of(struct rate *rate, unsigned wanted, int64_t now_ns)
{
    unsigned taken = 0;
    while (taken < wanted && rate_take(rate, now_ns))
        taken++;
    return taken;
}

static void test_no_rate(void **state)
{
    (void)state;
    struct rate rate = { 0 };
    assert_int_equal(taken_of(&rate, 100000, 5), 100000);
    assert_true(rate_due_ns(&rate) <= 5);
}

/* A tenth of a second's worth at once, and one where that is less. */
static void test_burst(void **state)
{
    (void)state;
    static const struct {
        int64_t interval_ns;
        unsigned burst;
    } cases[] = {
        { SECOND / 1000, 100 }, { SECOND / 100, 10 }, { SECOND / 10, 1 },
        { SECOND, 1 },          { 3600 * SECOND, 1 }, { SECOND / 1000000, 100000 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rate rate = { .interval_ns = cases[i].interval_ns };
        int64_t now_ns = 1000 * SECOND;
        assert_int_equal(taken_of(&rate, 1000000, now_ns), cases[i].burst);
        assert_int_equal(rate_due_ns(&rate), now_ns + cases[i].interval_ns);
        assert_false(rate_take(&rate, now_ns + cases[i].interval_ns - 1));
        assert_int_equal(taken_of(&rate, 1000000, now_ns + cases[i].interval_ns), 1);
        /* However long nothing was wanted, no more than the burst was saved. */
        assert_int_equal(taken_of(&rate, 1000000, now_ns + 100000 * SECOND), cases[i].burst);
    }
}

/* Asked at odd moments, the sum is the rate's, and the burst once. */
static void test_long_run(void **state)
{
    (void)state;
    struct rate rate = { .interval_ns = SECOND / 700 };
    int64_t now_ns = SECOND, end_ns = 11 * SECOND;
    unsigned taken = 0;
    for (; now_ns < end_ns; now_ns += 1234567)
        taken += taken_of(&rate, 1000, now_ns);
    assert_in_range(taken, 7000, 7070);
}

static void test_return(void **state)
{
    (void)state;
    struct rate rate = { .interval_ns = SECOND / 100 };
    assert_int_equal(taken_of(&rate, 100, SECOND), 10);
    rate_return(&rate);
    rate_return(&rate);
    assert_int_equal(taken_of(&rate, 100, SECOND), 2);
}

static void test_another_rate(void **state)
{
    (void)state;
    struct rate rate = { .interval_ns = SECOND };
    assert_int_equal(taken_of(&rate, 100, SECOND), 1);
    rate_set(&rate, 3600 * SECOND, SECOND);
    assert_int_equal(rate_due_ns(&rate), 3601 * SECOND);
    rate_set(&rate, SECOND / 2, SECOND);
    assert_false(rate_take(&rate, SECOND + SECOND / 2 - 1));
    assert_true(rate_take(&rate, SECOND + SECOND / 2));
    assert_true(rate_take(&rate, 2 * SECOND));
    rate_set(&rate, 0, 2 * SECOND);
    assert_true(rate_due_ns(&rate) < 0);
    assert_int_equal(taken_of(&rate, 1000, 2 * SECOND), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_rate), cmocka_unit_test(test_burst),        cmocka_unit_test(test_long_run),
        cmocka_unit_test(test_return),  cmocka_unit_test(test_another_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
