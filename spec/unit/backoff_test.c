/* Backoff: doubles from the least to the most, spread over the upper half of each step, and never overflows.
 */
#include "host/backoff.h"

#include "tools.h"

/* The step that the wait after so many failures is taken from. */
static int64_t step_of(const struct backoff *backoff, unsigned failures)
{
    int64_t step = backoff->least_ns;
    for (unsigned i = 0; i < failures && step < backoff->most_ns; i++)
        step = step > backoff->most_ns / 2 ? backoff->most_ns : 2 * step;
    return step < backoff->most_ns ? step : backoff->most_ns;
}

static const struct backoff cases[] = {
    { .least_ns = 100000000, .most_ns = INT64_C(30000000000) },
    { .least_ns = 1, .most_ns = INT64_MAX },
    { .least_ns = INT64_MAX / 2 + 1, .most_ns = INT64_MAX },
    { .least_ns = 1000, .most_ns = 1000 },
    { .least_ns = 1000, .most_ns = 10 },
    { .least_ns = 0, .most_ns = 1000 },
    { .least_ns = 3, .most_ns = 1000 },
};

static void test_doubles_up_to_the_most(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct backoff backoff = cases[i];
        for (unsigned failures = 0; failures < 3000; failures++) {
            int64_t step = step_of(&cases[i], failures);
            int64_t wait = backoff_next_ns(&backoff);
            assert_true(wait >= step / 2 && wait <= step);
        }
    }
}

static void test_waits_are_spread(void **state)
{
    (void)state;
    enum { DRAWS = 2000 };
    int64_t least = INT64_MAX, most = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        struct backoff backoff = { .least_ns = 1000000, .most_ns = 1000000 };
        int64_t wait = backoff_next_ns(&backoff);
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_true(least < 520000);
    assert_true(most > 980000);
}

static void test_reset_begins_anew(void **state)
{
    (void)state;
    struct backoff backoff = cases[0];
    for (unsigned i = 0; i < 20; i++)
        (void)backoff_next_ns(&backoff);
    assert_true(backoff_next_ns(&backoff) >= backoff.most_ns / 2);
    backoff_reset(&backoff);
    assert_true(backoff_next_ns(&backoff) <= backoff.least_ns);
    assert_true(backoff_next_ns(&backoff) <= 2 * backoff.least_ns);
}

/* What ends again at once waits as long as what fails. */
static void test_only_what_lasts_begins_anew(void **state)
{
    (void)state;
    struct backoff backoff = cases[0];
    for (unsigned i = 0; i < 4; i++) {
        (void)backoff_next_ns(&backoff);
        backoff_lasted(&backoff, BACKOFF_PROVED_NS);
    }
    assert_int_equal(backoff.failures, 4);
    for (unsigned i = 0; i < 10; i++)
        (void)backoff_next_ns(&backoff);
    assert_true(backoff_next_ns(&backoff) > 2 * BACKOFF_PROVED_NS);
    backoff_lasted(&backoff, BACKOFF_PROVED_NS);
    assert_int_equal(backoff.failures, 15);
    backoff_lasted(&backoff, BACKOFF_PROVED_NS + 1); /* however long the wait before it was */
    assert_int_equal(backoff.failures, 0);
    assert_true(backoff_next_ns(&backoff) <= backoff.least_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_most),
        cmocka_unit_test(test_waits_are_spread),
        cmocka_unit_test(test_reset_begins_anew),
        cmocka_unit_test(test_only_what_lasts_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
