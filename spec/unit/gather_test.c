/* How long the loop lets messages gather: only while many come, and never for a large part of the prefetch.
 */
#include "host/gather.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* One consumer takes `messages` in a millisecond. */
static int64_t pause_of(uint64_t messages, unsigned prefetch)
{
    struct gather gather;
    gather_begin(&gather, CLOCK_NS_PER_MS);
    gather_add(&gather, messages, prefetch);
    return gather_pause_ns(&gather);
}

static void test_much_is_let_gather(void **state)
{
    (void)state;
    assert_int_equal(pause_of(50, 256), GATHER_MOST_NS);
    assert_int_equal(pause_of(1000, UINT16_MAX), GATHER_MOST_NS);
}

static void test_little_is_not(void **state)
{
    (void)state;
    assert_int_equal(pause_of(0, 256), 0);
    assert_int_equal(pause_of(1, 256), 0);
    assert_int_equal(pause_of(GATHER_WORTH * CLOCK_NS_PER_MS / GATHER_MOST_NS - 1, 256), 0);
    assert_int_equal(pause_of(GATHER_WORTH * CLOCK_NS_PER_MS / GATHER_MOST_NS, 256), GATHER_MOST_NS);
}

/* So many may be under way that the broker need not wait: else it would, for the whole of the pause. */
static void test_the_prefetch_bounds_it(void **state)
{
    (void)state;
    const unsigned least = GATHER_WORTH * GATHER_PREFETCH_SHARE;
    assert_int_equal(pause_of(100, 10), 0);
    assert_int_equal(pause_of(100, least - 1), 0);
    assert_int_equal(pause_of(100, least), GATHER_WORTH * CLOCK_NS_PER_MS / 100);
    assert_int_equal(pause_of(1000, 256), 256 / GATHER_PREFETCH_SHARE * CLOCK_NS_PER_MS / 1000);
}

static void test_the_narrowest_consumer_counts(void **state)
{
    (void)state;
    struct gather gather;
    gather_begin(&gather, CLOCK_NS_PER_MS);
    gather_add(&gather, 100, 256);
    gather_add(&gather, 0, 1); /* what brings nothing holds nothing up */
    assert_true(gather_pause_ns(&gather) > 0);
    gather_add(&gather, 20, 10);
    assert_int_equal(gather_pause_ns(&gather), 0);
}

static void test_any_numbers(void **state)
{
    (void)state;
    struct gather gather;
    gather_begin(&gather, 1);
    gather_add(&gather, UINT64_MAX, 1);
    assert_int_equal(gather_pause_ns(&gather), 0);
    gather_begin(&gather, INT64_MAX);
    gather_add(&gather, 1, UINT_MAX);
    assert_int_equal(gather_pause_ns(&gather), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_much_is_let_gather),
        cmocka_unit_test(test_little_is_not),
        cmocka_unit_test(test_the_prefetch_bounds_it),
        cmocka_unit_test(test_the_narrowest_consumer_counts),
        cmocka_unit_test(test_any_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
