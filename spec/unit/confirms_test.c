/* The window of unconfirmed publications: against a plain model that confirms, refuses and forgets in any
 * order, one or many at a time; then its bounds. */
#include "host/confirms.h"

#include "host/parcel.h"

#include "tools.h"

static struct confirms confirms;
static struct parcel parcels[7];

static int set_up(void **state)
{
    (void)state;
    confirms_reset(&confirms);
    return 0;
}

static void add(size_t offset, size_t bytes)
{
    assert_true(confirms_have_room(&confirms));
    confirms_add(&confirms, &parcels[offset % COUNT_OF(parcels)], offset, bytes);
}

/* Takes all that a confirm covers; how many, their offsets in rising order checked. */
static unsigned take(uint64_t number, bool multiple, size_t *ret_last)
{
    struct confirm confirm;
    unsigned count = 0;
    while (confirms_take(&confirms, number, multiple, &confirm)) {
        assert_true(count == 0 || confirm.offset > *ret_last);
        *ret_last = confirm.offset;
        count++;
    }
    return count;
}

static void test_one_and_many(void **state)
{
    (void)state;
    size_t last = 0;
    for (size_t i = 1; i <= 6; i++)
        add(i, 10);
    assert_int_equal(take(4, false, &last), 1);
    assert_int_equal(last, 4);
    assert_int_equal(take(4, false, &last), 0);
    assert_int_equal(take(2, true, &last), 2);
    assert_int_equal(confirms.open, 3);
    assert_int_equal(confirms.bytes, 30);
    assert_int_equal(take(5, true, &last), 2);
    assert_int_equal(last, 5);
    assert_int_equal(take(6, true, &last), 1);
    assert_int_equal(confirms.open, 0);
    assert_int_equal(confirms.bytes, 0);
}

static void test_numbers_that_were_never_sent(void **state)
{
    (void)state;
    size_t last = 0;
    add(1, 10);
    assert_int_equal(take(0, false, &last), 0);
    assert_int_equal(take(0, true, &last), 0);
    assert_int_equal(take(2, false, &last), 0);
    assert_int_equal(take(2, true, &last), 0);
    assert_int_equal(take(UINT64_MAX, true, &last), 0);
    assert_int_equal(take(1 + CONFIRMS_MAX, false, &last), 0);
    assert_int_equal(confirms.open, 1);
}

static void test_bounds(void **state)
{
    (void)state;
    size_t last = 0;
    for (size_t i = 1; i <= CONFIRMS_MAX; i++)
        add(i, 0);
    assert_false(confirms_have_room(&confirms));
    /* A hole does not make room: the window is from the first that is open. */
    assert_int_equal(take(CONFIRMS_MAX / 2, false, &last), 1);
    assert_false(confirms_have_room(&confirms));
    assert_int_equal(take(1, false, &last), 1);
    assert_true(confirms_have_room(&confirms));
    assert_int_equal(take(CONFIRMS_MAX, true, &last), CONFIRMS_MAX - 2);
    add(1, CONFIRMS_BYTES_MAX - 1);
    add(2, 1024 * 1024);
    assert_false(confirms_have_room(&confirms));
    assert_int_equal(take(CONFIRMS_MAX + 2, false, &last), 1);
    assert_true(confirms_have_room(&confirms));
}

static void test_what_is_open_latest_first(void **state)
{
    (void)state;
    size_t last = 0;
    for (size_t i = 1; i <= 10; i++)
        add(i, 1);
    take(3, true, &last);
    take(7, false, &last);
    static const size_t wanted[] = { 10, 9, 8, 6, 5, 4 };
    uint64_t number = confirms.next;
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        assert_int_equal(confirms_before(&confirms, &number)->offset, wanted[i]);
    assert_null(confirms_before(&confirms, &number));
    confirms_forget(&confirms, &parcels[5]);
    number = confirms.next;
    struct confirm *confirm;
    while ((confirm = confirms_before(&confirms, &number)))
        assert_ptr_equal(confirm->parcel, confirm->offset == 5 ? NULL : &parcels[confirm->offset % 7]);
}

enum { MODEL_MAX = 20000 };

static void test_against_a_model(void **state)
{
    (void)state;
    static bool open[MODEL_MAX];
    struct random random = { 5 };
    uint64_t sent = 0;
    while (sent < MODEL_MAX - 1) {
        if (confirms_have_room(&confirms) && !random_one_in(&random, 3)) {
            open[++sent] = true;
            add((size_t)sent, random_below(&random, 2000));
            continue;
        }
        uint64_t number = sent - random_below(&random, sent < 600 ? (unsigned)sent + 1 : 600);
        bool multiple = random_one_in(&random, 4);
        struct confirm confirm;
        for (uint64_t n = multiple ? 1 : number; n <= number; n++) {
            if (!open[n])
                continue;
            assert_true(confirms_take(&confirms, number, multiple, &confirm));
            assert_int_equal(confirm.offset, n);
            open[n] = false;
        }
        assert_false(confirms_take(&confirms, number, multiple, &confirm));
    }
    unsigned left = 0;
    for (size_t i = 0; i < MODEL_MAX; i++)
        left += open[i];
    assert_int_equal(confirms.open, left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_and_many, set_up),
        cmocka_unit_test_setup(test_numbers_that_were_never_sent, set_up),
        cmocka_unit_test_setup(test_bounds, set_up),
        cmocka_unit_test_setup(test_what_is_open_latest_first, set_up),
        cmocka_unit_test_setup(test_against_a_model, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
