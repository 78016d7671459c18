/* The circuit breaker: when it opens, who may ask then, and what closes it. */
#include "worker/breaker.h"

#include "tools.h"

enum { MOST = 3, PAUSE = 100 };

static struct breaker open_at(int64_t now_ns)
{
    struct breaker breaker = { 0 };
    for (int i = 0; i < MOST; i++) {
        assert_true(breaker_admit(&breaker, MOST, now_ns));
        breaker_fail(&breaker, now_ns, PAUSE);
    }
    return breaker;
}

static void test_opens_after_failures_in_a_row(void **state)
{
    (void)state;
    struct breaker breaker = { 0 };
    for (int i = 0; i < 100; i++) {
        assert_true(breaker_admit(&breaker, MOST, i));
        if (i % MOST == MOST - 1)
            breaker_succeed(&breaker);
        else
            breaker_fail(&breaker, i, PAUSE);
    }
    breaker = open_at(5);
    assert_false(breaker_admit(&breaker, MOST, 5));
    assert_false(breaker_admit(&breaker, MOST, 5 + PAUSE - 1));
}

static void test_one_asks_when_the_pause_is_over(void **state)
{
    (void)state;
    struct breaker breaker = open_at(5);
    assert_true(breaker_admit(&breaker, MOST, 5 + PAUSE));
    assert_false(breaker_admit(&breaker, MOST, 5 + PAUSE));
    breaker_fail(&breaker, 10 + PAUSE, PAUSE);
    assert_false(breaker_admit(&breaker, MOST, 9 + 2 * PAUSE));
    assert_true(breaker_admit(&breaker, MOST, 10 + 2 * PAUSE));
    breaker_succeed(&breaker);
    for (int i = 0; i < 10; i++)
        assert_true(breaker_admit(&breaker, MOST, 10 + 2 * PAUSE));
}

static void test_who_leaves_makes_room_for_another(void **state)
{
    (void)state;
    struct breaker breaker = open_at(5);
    assert_true(breaker_admit(&breaker, MOST, 5 + PAUSE));
    breaker_leave(&breaker);
    assert_true(breaker_admit(&breaker, MOST, 5 + PAUSE));
}

static void test_none(void **state)
{
    (void)state;
    struct breaker breaker = { 0 };
    for (int i = 0; i < 1000; i++) {
        assert_true(breaker_admit(&breaker, 0, 5));
        breaker_fail(&breaker, 5, PAUSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_after_failures_in_a_row),
        cmocka_unit_test(test_one_asks_when_the_pause_is_over),
        cmocka_unit_test(test_who_leaves_makes_room_for_another),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
