/* What walks leave out, and which place it is taken to be in; see worker/heap_places.h. */
#include "worker/heap_places.h"

#include "tools.h"

static uint32_t variable(struct places *places, const char *name)
{
    const struct place_label label = {
        .kind = PLACE_UPVALUE, .name = slice_of(name), .source = slice_of("handler.lua"), .line = 1
    };
    return places_below(places, 0, &label);
}

static uint32_t field(struct places *places, uint32_t above, const char *name)
{
    const struct place_label label = { .kind = PLACE_FIELD, .name = slice_of(name) };
    return places_below(places, above, &label);
}

/* A walk has found so many objects there, 100 bytes each, and perhaps left out others. */
static void find(struct places *places, uint32_t id, uint64_t objects, bool cut)
{
    struct place_figures *now = &places->list[id].now;
    now->objects = now->inner = objects;
    now->bytes = 100 * objects;
    now->cut = cut;
}

static const struct growth_point *last(const struct places *places, uint32_t id)
{
    const struct growth_series *series = &places->list[id].series;
    return &series->points[series->count - 1];
}

static void add_rest(struct places *places, uint64_t bytes, uint64_t grown_bytes, uint64_t messages)
{
    const struct places_rest rest = { .bytes = bytes, .grown_bytes = grown_bytes, .messages = messages };
    places_add_rest(places, &rest);
}

static void the_rest_is_in_what_was_cut(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t list = variable(&places, "list"), other = variable(&places, "other");
    places_begin(&places);
    find(&places, list, 500, false);
    find(&places, other, 50, false);
    places_end(&places, 500, true);
    places_begin(&places);
    find(&places, list, 1000, true);
    find(&places, other, 50, false);
    assert_true(places_are_cut(&places));
    add_rest(&places, 400000, 400000, 4900);
    assert_false(places_are_cut(&places));
    places_end(&places, 5000, true);
    assert_int_equal(last(&places, list)->bytes, 500000);
    assert_int_equal(last(&places, list)->inner, 5000);
    assert_int_equal(last(&places, list)->messages, 4900);
    assert_int_equal(last(&places, other)->bytes, 5000);
    assert_int_equal(last(&places, other)->messages, 5000);
    places_clear(&places);
}

/* The branches of a tree are places of their own, and a walk fills them in no fair order. */
static void parts_of_a_tree_grow_alike(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t tree = variable(&places, "tree"), left = field(&places, tree, "left"),
             right = field(&places, tree, "right");
    assert_int_equal(field(&places, left, "left"), left); /* the label comes again: chained */
    assert_int_equal(field(&places, right, "right"), right);
    assert_int_equal(places_holder(&places, left), tree);
    places_begin(&places);
    find(&places, left, 300, false);
    find(&places, right, 200, false);
    places_end(&places, 500, true);
    places_begin(&places);
    find(&places, left, 900, true);
    find(&places, right, 100, true);
    add_rest(&places, 400000, 400000, 5000);
    places_end(&places, 5000, true);
    assert_int_equal(last(&places, left)->inner, 3000);
    assert_int_equal(last(&places, right)->inner, 2000);
    places_clear(&places);
}

static void of_several_nothing_is_known(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t one = variable(&places, "one"), two = variable(&places, "two");
    places_begin(&places);
    find(&places, one, 100, false);
    find(&places, two, 100, false);
    places_end(&places, 100, true);
    places_begin(&places);
    find(&places, one, 1000, true);
    find(&places, two, 1000, true);
    add_rest(&places, 400000, 400000, 5000);
    assert_true(places_are_cut(&places));
    places_end(&places, 5000, true);
    assert_int_equal(last(&places, one)->messages, 100);
    assert_int_equal(last(&places, two)->messages, 100);
    places_clear(&places);
}

/* What lives in all is known about: the error may be as large as the list. */
static void a_small_part_of_what_grows_is_not_known(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t list = variable(&places, "list");
    places_begin(&places);
    find(&places, list, 500, false);
    places_end(&places, 500, true);
    places_begin(&places);
    find(&places, list, 1000, true);
    add_rest(&places, 400000, 1000100, 5000);
    assert_true(places_are_cut(&places));
    add_rest(&places, 400000, 999900, 5000);
    assert_false(places_are_cut(&places));
    places_clear(&places);
}

/* What is large when it is seen first is none of what is left out later; once looked through, it counts. */
static void what_is_large_from_the_first_stays(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t large = variable(&places, "constants"), list = variable(&places, "list");
    places_begin(&places);
    find(&places, large, 1000, true);
    find(&places, list, 100, false);
    places_end(&places, 100, true);
    places_begin(&places);
    find(&places, large, 1000, true);
    find(&places, list, 1000, true);
    add_rest(&places, 100000, 100000, 2000);
    places_end(&places, 2000, true);
    assert_int_equal(places.list[large].series.count, 0);
    assert_int_equal(last(&places, list)->inner, 2000);
    places_begin(&places);
    find(&places, large, 30000, false);
    places_end(&places, 4000, true);
    assert_int_equal(last(&places, large)->inner, 30000);
    places_clear(&places);
}

static void weak_tables_count_after_a_collection(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t weak = variable(&places, "weak");
    for (uint64_t messages = 100; messages <= 200; messages += 100) {
        places_begin(&places);
        find(&places, weak, messages, false);
        places.list[weak].now.weak = true;
        places_end(&places, messages, messages == 100);
    }
    assert_int_equal(places.list[weak].series.count, 1);
    assert_int_equal(last(&places, weak)->messages, 100);
    places_clear(&places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_is_in_what_was_cut),
        cmocka_unit_test(parts_of_a_tree_grow_alike),
        cmocka_unit_test(of_several_nothing_is_known),
        cmocka_unit_test(a_small_part_of_what_grows_is_not_known),
        cmocka_unit_test(what_is_large_from_the_first_stays),
        cmocka_unit_test(weak_tables_count_after_a_collection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
