/* A hundredth of a worker's time; see worker/leak_budget.h. */
#include "worker/leak_budget.h"

#include "common/clock.h"
#include "tools.h"

/* Whoever takes only what there is never has more than a hundredth, at whatever moments it asks. */
static void never_more_than_a_hundredth(void **context)
{
    struct leak_budget budget;
    struct random random = { .state = 7 };
    int64_t now_ns = 12345;
    (void)context;
    leak_budget_open(&budget, now_ns);
    for (int i = 0; i < 10000; i++) {
        now_ns += (int64_t)(random_next(&random) % (20 * CLOCK_NS_PER_MS));
        int64_t room_ns = leak_budget_room_ns(&budget, now_ns);
        if (random_next(&random) % 3 == 0 && room_ns > 0)
            leak_budget_spend(&budget, room_ns);
        int64_t spent_ns = budget.spent_ns - LEAK_BUDGET_START_NS;
        assert_true(spent_ns * LEAK_BUDGET_SHARE <= now_ns - budget.began_ns);
    }
    assert_true(leak_budget_share(&budget, now_ns) * LEAK_BUDGET_SHARE > 0.99);
    assert_true(leak_budget_share(&budget, now_ns) * LEAK_BUDGET_SHARE < 1.01);
}

static void what_was_too_much_is_paid_back(void **context)
{
    struct leak_budget budget;
    (void)context;
    leak_budget_open(&budget, 0);
    leak_budget_spend(&budget, 2 * CLOCK_NS_PER_MS + LEAK_BUDGET_START_NS);
    assert_int_equal(leak_budget_room_ns(&budget, LEAK_BUDGET_SHARE * CLOCK_NS_PER_MS), -CLOCK_NS_PER_MS);
    assert_int_equal(leak_budget_room_ns(&budget, 3 * LEAK_BUDGET_SHARE * CLOCK_NS_PER_MS), CLOCK_NS_PER_MS);
}

/* A night without messages is no reason to look for minutes. */
static void savings_have_a_bound(void **context)
{
    struct leak_budget budget;
    (void)context;
    leak_budget_open(&budget, 0);
    assert_int_equal(leak_budget_room_ns(&budget, 36000 * CLOCK_NS_PER_SECOND), LEAK_BUDGET_SAVINGS_NS);
}

static void a_life_without_length_has_no_share(void **context)
{
    struct leak_budget budget;
    (void)context;
    leak_budget_open(&budget, 5);
    assert_true(leak_budget_share(&budget, 5) <= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_more_than_a_hundredth),
        cmocka_unit_test(what_was_too_much_is_paid_back),
        cmocka_unit_test(savings_have_a_bound),
        cmocka_unit_test(a_life_without_length_has_no_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
