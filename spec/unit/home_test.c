/* The memory that a worker keeps for its states: see worker/home.h. */
#include "worker/home.h"

#include "common/untouchable.h"
#include "tools.h"

enum { BLOCK_MOST = HOME_BLOCK_PAGES * HOME_PAGE_BYTES };

/* Only their addresses matter. */
static char state_at_hand, quota_at_hand, quota_of_another;
#define STATE ((lua_State *)(void *)&state_at_hand)
#define QUOTA ((const struct quota *)(const void *)&quota_at_hand)
#define OTHER ((const struct quota *)(const void *)&quota_of_another)

static void test_sizes(void **state)
{
    static const struct {
        size_t bytes, taken;
    } cases[] = {
        { 1, 16 },      { 16, 16 },     { 17, 32 },      { 4095, 4096 },
        { 4096, 4096 }, { 4097, 8192 }, { 8193, 12288 }, { BLOCK_MOST, BLOCK_MOST },
    };
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t before = home.used;
        char *block = home_take(&home, cases[i].bytes);
        assert_ptr_equal(block, home.memory + before);
        assert_int_equal(home.used - before, cases[i].taken);
        assert_true(home_holds(&home, block) && home_holds(&home, block + cases[i].taken - 1));
    }
    assert_false(home_holds(&home, &home) || home_holds(&home, NULL));
    assert_false(home.too_small);
    assert_null(home_take(&home, BLOCK_MOST + 1));
    assert_true(home.too_small);
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

static void test_a_copy_has_what_was_given_back(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    char *first = home_take(&home, 100), *second = home_take(&home, 5000), *third = home_take(&home, 100);
    home_give_back(&home, first, 100);
    home_give_back(&home, second, 5000);
    home_give_back(&home, third, 100);
    home_keep(&home, QUOTA, STATE, 0);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(home_take(&home, 100), third);
        assert_ptr_equal(home_take(&home, 100), first);
        assert_ptr_equal(home_take(&home, 5000), second);
        assert_int_equal(home.used, home.copy_bytes);
        assert_ptr_equal(home_copy(&home, QUOTA), STATE);
    }
    home_clear(&home);
}

/* What is there, though nobody has it. */
static char left_at(const char *place)
{
    untouchable_end(place, 1);
    return *place;
}

/* Pages that a state has touched and the next one has not are the system's again after that one. */
static void test_what_is_not_used_any_more_goes_back(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    assert_non_null(home_take(&home, 1));
    home_keep(&home, QUOTA, STATE, 0);
    char *blocks[2 * 1024 * 1024 / BLOCK_MOST];
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        blocks[i] = home_take(&home, BLOCK_MOST);
        assert_non_null(blocks[i]);
        memset(blocks[i], 'a', BLOCK_MOST);
    }
    char *last = blocks[sizeof blocks / sizeof blocks[0] - 1];
    assert_non_null(home_copy(&home, QUOTA));
    assert_int_equal(left_at(last), 'a');
    assert_ptr_equal(home_take(&home, BLOCK_MOST), blocks[0]);
    assert_non_null(home_copy(&home, QUOTA));
    assert_int_equal(left_at(last), 0);
    assert_int_equal(left_at(blocks[0]), 'a');
    home_clear(&home);
}

static void test_blocks_come_again(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    home_begin(&home);
    home_keep(&home, QUOTA, STATE, 0);
    char *one = home_take(&home, 33), *other = home_take(&home, 48);
    assert_ptr_equal(other, one + 48);
    home_give_back(&home, one, 33);
    home_give_back(&home, other, 48);
    assert_int_equal(untouchable_is(other + 47), UNTOUCHABLE_IS_CHECKED);
    assert_ptr_equal(home_take(&home, 40), other);
    assert_false(untouchable_is(other + 39));
    assert_int_equal(untouchable_is(other + 48), UNTOUCHABLE_IS_CHECKED);
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
        assert_non_null(home_take(&home, 512));
    assert_null(home_take(&home, 1));
    home_clear(&home);
}

/* The arena of the empty state may hold what the last state left in it. */
static void test_the_ground_is_kept_while_it_is_clean(void **state)
{
    (void)state;
    struct home home;
    home_init(&home, HOME_BYTES);
    lua_State *ground = home_ground(&home);
    assert_non_null(ground);
    home_end(&home, false);
    assert_ptr_equal(home_ground(&home), ground);
    home_end(&home, true);
    assert_null(home.ground);
    assert_non_null(home_ground(&home));
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
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_a_copy_is_as_the_first_was),
        cmocka_unit_test(test_a_copy_has_what_was_given_back),
        cmocka_unit_test(test_what_is_not_used_any_more_goes_back),
        cmocka_unit_test(test_blocks_come_again),
        cmocka_unit_test(test_its_end),
        cmocka_unit_test(test_the_ground_is_kept_while_it_is_clean),
        cmocka_unit_test(test_too_small_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
