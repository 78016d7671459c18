/* The memory that a worker keeps for its states: see worker/home.h. */
#include "worker/home.h"

#include "tools.h"

enum { SMALL_MOST = HOME_SMALL_BLOCKS * HOME_BLOCK_BYTES };

/* Only their addresses matter. */
static char state_at_hand, quota_at_hand, quota_of_another;
#define STATE ((lua_State *)(void *)&state_at_hand)
#define QUOTA ((const struct quota *)(const void *)&quota_at_hand)
#define OTHER ((const struct quota *)(const void *)&quota_of_another)

static void test_opening_takes_any_size(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    char *one = home_take(&home, 1);
    char *large = home_take(&home, (size_t)SMALL_MOST * 10);
    assert_non_null(one);
    assert_ptr_equal(large, one + HOME_BLOCK_BYTES);
    assert_true(home_holds(&home, one) && home_holds(&home, large + (size_t)SMALL_MOST * 10 - 1));
    assert_false(home_holds(&home, &home) || home_holds(&home, NULL));
    home_give_back(&home, one, 1); /* is not there for others: it would not be in a copy */
    assert_ptr_not_equal(home_take(&home, 1), one);
    home_clear(&home);
}

static void test_a_copy_is_as_the_first_was(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    assert_null(home_copy(&home, QUOTA));
    home_begin(&home);
    char *first = home_take(&home, 1000);
    memset(first, 'a', 1000);
    home_keep(&home, QUOTA, STATE, 1234);
    assert_int_equal(home.held_bytes, 1234);
    for (int i = 0; i < 3; i++) {
        char *later = home_take(&home, 64);
        assert_ptr_equal(later, first + 1008);
        home_give_back(&home, later, 64);
        memset(first, 'b', 1000);
        assert_ptr_equal(home_copy(&home, QUOTA), STATE);
        for (int at = 0; at < 1000; at++)
            assert_int_equal(first[at], 'a');
    }
    assert_null(home_copy(&home, OTHER));
    home_clear(&home);
}

static void test_small_blocks_come_again(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    home_keep(&home, QUOTA, STATE, 0);
    assert_null(home_take(&home, SMALL_MOST + 1));
    char *one = home_take(&home, 33), *other = home_take(&home, 48);
    assert_ptr_equal(other, one + 48);
    home_give_back(&home, one, 33);
    home_give_back(&home, other, 48);
    assert_ptr_equal(home_take(&home, 40), other);
    assert_ptr_equal(home_take(&home, 40), one);
    assert_ptr_equal(home_take(&home, 40), other + 48);
    home_give_back(&home, one, 16); /* it was made smaller meanwhile */
    assert_ptr_equal(home_take(&home, 1), one);
    home_clear(&home);
}

static void test_its_end(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, 1024);
    home_begin(&home);
    home_keep(&home, QUOTA, STATE, 0);
    for (int i = 0; i < 2; i++)
        assert_non_null(home_take(&home, SMALL_MOST));
    assert_null(home_take(&home, 1));
    home_clear(&home);
}

/* Then every state is opened anew, and has all its memory elsewhere. */
static void test_too_small_or_none(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, 1024);
    home_begin(&home);
    assert_null(home_take(&home, 1025));
    assert_non_null(home_take(&home, 1024));
    home_keep(&home, QUOTA, STATE, 0);
    assert_null(home_copy(&home, QUOTA));
    home_begin(&home);
    assert_non_null(home_take(&home, 1024));
    home_clear(&home);
    home_init(&home, 0);
    home_begin(&home);
    assert_null(home_take(&home, 1));
    assert_false(home_holds(&home, NULL) || home_holds(&home, &home));
    home_keep(&home, QUOTA, STATE, 0);
    assert_null(home_copy(&home, QUOTA));
    home_clear(&home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening_takes_any_size),  cmocka_unit_test(test_a_copy_is_as_the_first_was),
        cmocka_unit_test(test_small_blocks_come_again), cmocka_unit_test(test_its_end),
        cmocka_unit_test(test_too_small_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
