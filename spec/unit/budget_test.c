/* --max-messages: exactly so many are settled, however deliveries come back in between. */
#include "host/budget.h"

#include "tools.h"

static void test_no_end(void **state)
{
    (void)state;
    struct budget budget = { .limit = 0 };
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(budget_take(&budget));
        budget_settle(&budget);
    }
    assert_false(budget_is_spent(&budget));
}

static void test_exactly_the_limit(void **state)
{
    (void)state;
    struct budget budget = { .limit = 3 };
    assert_true(budget_take(&budget));
    assert_true(budget_take(&budget));
    assert_true(budget_take(&budget));
    assert_false(budget_take(&budget));
    budget_return(&budget);
    assert_true(budget_take(&budget));
    assert_false(budget_take(&budget));
    for (unsigned i = 0; i < 3; i++) {
        assert_false(budget_is_spent(&budget));
        budget_settle(&budget);
    }
    assert_true(budget_is_spent(&budget));
    assert_false(budget_take(&budget));
}

/* Takes, returns and settlements in any order: at work and settled are never more than the limit together,
 * and in the end exactly so many are settled. */
static void test_random_walk(void **state)
{
    (void)state;
    struct random random = { 17 };
    for (uint64_t limit = 1; limit < 300; limit++) {
        struct budget budget = { .limit = limit };
        uint64_t at_work = 0, settled = 0;
        while (!budget_is_spent(&budget)) {
            unsigned choice = random_below(&random, 4);
            if (choice < 2) {
                assert_int_equal(budget_take(&budget), at_work + settled < limit);
                at_work += at_work + settled < limit;
            } else if (at_work > 0) {
                at_work--;
                settled += choice == 2;
                choice == 2 ? budget_settle(&budget) : budget_return(&budget);
            }
            assert_true(budget.settled <= budget.taken && budget.taken <= limit);
        }
        assert_int_equal(settled, limit);
        assert_int_equal(at_work, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_end),
        cmocka_unit_test(test_exactly_the_limit),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
