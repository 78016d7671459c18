/* The limiter of log lines: so many in a second, and the others counted. */
#include "common/clock.h"
#include "host/limiter.h"

#include "tools.h"

static unsigned passed_of(struct limiter *limiter, unsigned lines, int64_t now_ns)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < lines; i++)
        passed += limiter_pass(limiter, now_ns);
    return passed;
}

static void test_so_many_in_a_second(void **state)
{
    (void)state;
    struct limiter limiter = { .per_second = 10 };
    int64_t now_ns = 5;
    assert_int_equal(passed_of(&limiter, 10, now_ns), 10);
    assert_int_equal(limiter_take_held_back(&limiter), 0);
    assert_int_equal(passed_of(&limiter, 1000, now_ns + CLOCK_NS_PER_SECOND - 1), 0);
    assert_int_equal(limiter_take_held_back(&limiter), 1000);
    assert_int_equal(limiter_take_held_back(&limiter), 0);
    assert_int_equal(passed_of(&limiter, 1000, now_ns + CLOCK_NS_PER_SECOND), 10);
    assert_int_equal(limiter_take_held_back(&limiter), 990);
}

/* The first line after a silence is never held back, however long the program has been running. */
static void test_silence(void **state)
{
    (void)state;
    struct limiter limiter = { .per_second = 1 };
    static const int64_t seconds[] = { 0, 1, 2, 50, 1000000, INT32_MAX };
    for (size_t i = 0; i < COUNT_OF(seconds); i++)
        assert_int_equal(passed_of(&limiter, 3, seconds[i] * CLOCK_NS_PER_SECOND), 1);
    assert_int_equal(limiter_take_held_back(&limiter), 2 * COUNT_OF(seconds));
}

static void test_none_at_all(void **state)
{
    (void)state;
    struct limiter limiter = { .per_second = 0 };
    for (int64_t second = 0; second < 5; second++)
        assert_int_equal(passed_of(&limiter, 2, second * CLOCK_NS_PER_SECOND), 0);
    assert_int_equal(limiter_take_held_back(&limiter), 10);
}

/* A line at each millisecond of ten seconds: what passes in each second of the clock is bounded, and no line
 * is lost from the count. */
static void test_steady_stream(void **state)
{
    (void)state;
    enum { PER_SECOND = 10, SECONDS = 10, LINES = SECONDS * 1000 };
    struct limiter limiter = { .per_second = PER_SECOND };
    unsigned passed = 0;
    for (int64_t i = 0; i < LINES; i++)
        passed += limiter_pass(&limiter, i * CLOCK_NS_PER_MS);
    assert_int_equal(passed, PER_SECOND * SECONDS);
    assert_int_equal(limiter_take_held_back(&limiter), LINES - passed);
}

/* What no line came to tell of is told by itself, once. */
static void test_the_end(void **state)
{
    (void)state;
    struct limiter limiter = { .per_second = 2 };
    int64_t now_ns = 7;
    (void)passed_of(&limiter, 5, now_ns);
    assert_int_equal(limiter_take_ended(&limiter, now_ns + 2 * CLOCK_NS_PER_SECOND - 1), 0);
    assert_int_equal(limiter_take_ended(&limiter, now_ns + 2 * CLOCK_NS_PER_SECOND), 3);
    assert_int_equal(limiter_take_ended(&limiter, now_ns + 3 * CLOCK_NS_PER_SECOND), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_in_a_second),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_none_at_all),
        cmocka_unit_test(test_steady_stream),
        cmocka_unit_test(test_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
