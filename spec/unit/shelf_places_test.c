/* Places on a worker's shelf: no two messages ever share a unit, the lowest run is taken, and what is
 * answered is free again, in whatever order; see host/shelf_places.h. */
#include "host/shelf_places.h"

#include "tools.h"

enum { WHOLE = SHELF_BYTES, UNIT = SHELF_UNIT_BYTES };

static uint32_t take(struct shelf_places *places, size_t bytes, uint64_t seq)
{
    uint32_t at = UINT32_MAX;
    assert_true(shelf_places_take(places, bytes, seq, &at));
    return at;
}

static void refuse(struct shelf_places *places, size_t bytes)
{
    const struct shelf_places before = *places;
    uint32_t at = 7;
    assert_false(shelf_places_take(places, bytes, 1, &at));
    assert_int_equal(at, 7);
    assert_memory_equal(places, &before, sizeof before);
}

static void test_whole_units(void **state)
{
    (void)state;
    struct shelf_places places = { 0 };
    assert_int_equal(take(&places, 1, 1), 0);
    assert_int_equal(take(&places, UNIT, 2), UNIT);
    assert_int_equal(take(&places, UNIT + 1, 3), 2 * UNIT);
    assert_int_equal(take(&places, 3 * UNIT, 4), 4 * UNIT);
    assert_int_equal(take(&places, 1, 5), 7 * UNIT);
    assert_int_equal(places.touched, 8);
}

static void test_bounds(void **state)
{
    (void)state;
    struct shelf_places places = { 0 };
    refuse(&places, 0);
    refuse(&places, WHOLE + 1);
    refuse(&places, SIZE_MAX);
    assert_int_equal(take(&places, WHOLE, 1), 0);
    refuse(&places, 1);
    shelf_places_free(&places, 1);
    assert_int_equal(take(&places, WHOLE - UNIT, 2), 0);
    refuse(&places, UNIT + 1);
    assert_int_equal(take(&places, UNIT, 3), WHOLE - UNIT);
    refuse(&places, 1);
    shelf_places_free(&places, 2);
    assert_int_equal(take(&places, WHOLE - UNIT, 4), 0);
}

static void test_the_lowest_run_that_is_long_enough(void **state)
{
    (void)state;
    struct shelf_places places = { 0 };
    for (uint64_t seq = 1; seq <= SHELF_UNITS; seq++)
        (void)take(&places, UNIT, seq);
    refuse(&places, 1);
    /* Free now: units 3, 10 and 11, 20 to 22, and the last. */
    static const uint64_t answered[] = { 11, 4, 21, 23, 22, 12, SHELF_UNITS };
    for (size_t i = 0; i < COUNT_OF(answered); i++)
        shelf_places_free(&places, answered[i]);
    assert_int_equal(take(&places, 3 * UNIT, 100), 20 * UNIT);
    refuse(&places, 3 * UNIT);
    assert_int_equal(take(&places, 2 * UNIT, 101), 10 * UNIT);
    refuse(&places, 2 * UNIT);
    assert_int_equal(take(&places, UNIT, 102), 3 * UNIT);
    assert_int_equal(take(&places, UNIT, 103), WHOLE - UNIT);
    refuse(&places, 1);
}

static void test_who_has_nothing_frees_nothing(void **state)
{
    (void)state;
    struct shelf_places places = { 0 };
    shelf_places_free(&places, 1);
    (void)take(&places, 5 * UNIT, 1);
    (void)take(&places, UNIT, 3);
    const struct shelf_places before = places;
    shelf_places_free(&places, 2);
    shelf_places_free(&places, 0);
    assert_memory_equal(&places, &before, sizeof before);
    shelf_places_free(&places, 1);
    shelf_places_free(&places, 1);
    assert_true(places.taken == UINT64_C(1) << 5);
    shelf_places_free(&places, 3);
    assert_true(places.taken == 0 && places.firsts == 0);
    assert_int_equal(places.touched, 6);
}

/* Beside it a table of who has which unit. */
struct model {
    struct shelf_places places;
    uint64_t owners[SHELF_UNITS]; /* 0: nobody */
};

static unsigned lowest_run(const struct model *model, unsigned length)
{
    unsigned found = 0;
    for (unsigned unit = 0; unit < SHELF_UNITS; unit++) {
        found = model->owners[unit] == 0 ? found + 1 : 0;
        if (found == length)
            return unit + 1 - length;
    }
    return SHELF_UNITS;
}

static void model_take(struct model *model, size_t bytes, uint64_t seq)
{
    unsigned length = (unsigned)((bytes + UNIT - 1) / UNIT);
    unsigned first = lowest_run(model, length);
    if (first == SHELF_UNITS) {
        refuse(&model->places, bytes);
        return;
    }
    assert_int_equal(take(&model->places, bytes, seq), first * UNIT);
    for (unsigned unit = first; unit < first + length; unit++)
        model->owners[unit] = seq;
}

static void model_free(struct model *model, uint64_t seq)
{
    shelf_places_free(&model->places, seq);
    for (unsigned unit = 0; unit < SHELF_UNITS; unit++)
        model->owners[unit] = model->owners[unit] == seq ? 0 : model->owners[unit];
}

static void test_any_order(void **state)
{
    (void)state;
    struct random random = { .state = 20 };
    for (unsigned round = 0; round < 50; round++) {
        struct model model = { .owners = { 0 } };
        uint64_t most = 1 + random_next(&random) % WHOLE;
        for (uint64_t seq = 1; seq <= 400; seq++) {
            model_take(&model, 1 + random_next(&random) % most, seq);
            for (uint64_t i = random_next(&random) % 3; i > 0; i--)
                model_free(&model, 1 + random_next(&random) % seq);
            uint64_t taken = 0;
            for (unsigned unit = 0; unit < SHELF_UNITS; unit++)
                taken |= (uint64_t)(model.owners[unit] != 0) << unit;
            assert_true(model.places.taken == taken);
        }
        for (uint64_t seq = 1; seq <= 400; seq++)
            model_free(&model, seq);
        assert_true(model.places.taken == 0 && model.places.firsts == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_units),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_the_lowest_run_that_is_long_enough),
        cmocka_unit_test(test_who_has_nothing_frees_nothing),
        cmocka_unit_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
