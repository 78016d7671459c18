/* The histogram: each measure is in the one bucket that its bound says. */
#include "host/histogram.h"

#include "tools.h"

static void test_bounds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        struct histogram histogram = { 0 };
        assert_true(i == 0 || histogram_bounds_ns[i] > histogram_bounds_ns[i - 1]);
        histogram_add(&histogram, histogram_bounds_ns[i]);
        assert_int_equal(histogram.counts[i], 1);
        histogram_add(&histogram, histogram_bounds_ns[i] + 1);
        assert_int_equal(histogram.counts[i + 1], 1);
        assert_int_equal(histogram.count, 2);
        assert_int_equal(histogram.sum_ns, 2 * histogram_bounds_ns[i] + 1);
    }
}

/* A worker may tell anything. */
static void test_lies(void **state)
{
    (void)state;
    struct histogram histogram = { 0 };
    histogram_add(&histogram, INT64_MIN);
    histogram_add(&histogram, -1);
    assert_int_equal(histogram.sum_ns, 0);
    assert_int_equal(histogram.counts[0], 2);
    histogram_add(&histogram, INT64_MAX);
    assert_int_equal(histogram.counts[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(histogram.sum_ns, UINT64_C(86400000000000));
}

static void test_all_are_counted(void **state)
{
    (void)state;
    struct histogram histogram = { 0 };
    uint64_t total = 0;
    for (int64_t ns = 1; ns < INT64_C(1) << 40; ns += 1 + ns / 3)
        histogram_add(&histogram, ns);
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
        total += histogram.counts[i];
    assert_int_equal(total, histogram.count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_all_are_counted),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
