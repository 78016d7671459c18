/* Which of many places that grow are told, and by which names; see worker/leak_suspects.h and
 * worker/heap_places.h. */
#include "worker/leak_suspects.h"

#include "tools.h"

#include <stdio.h>

static const uint64_t looks[] = { 100, 160, 250, 400, 600, 1000 };

static uint32_t below(struct places *places, uint32_t parent, enum place_kind kind, const char *name)
{
    const struct place_label label = {
        .kind = kind,
        .name = slice_of(name),
        .source = slice_of(kind == PLACE_UPVALUE || kind == PLACE_LOCAL ? "folder/handler.lua" : ""),
        .line = kind == PLACE_UPVALUE || kind == PLACE_LOCAL ? 3 : 0,
    };
    return places_below(places, parent, &label);
}

/* What grows by so much for each message; `share` is multiplied by them. */
struct growing {
    uint32_t place;
    double entries, inner, bytes;
    bool is_string;
};

static void grow(struct places *places, const struct growing *growing, size_t count)
{
    for (size_t i = 0; i < COUNT_OF(looks); i++) {
        double messages = (double)looks[i];
        places_begin(places);
        for (uint32_t id = 0; id < places->count; id++)
            places->list[id].now.bytes = 64;
        for (size_t j = 0; j < count; j++) {
            struct place_figures *now = &places->list[growing[j].place].now;
            now->entries = (uint64_t)(growing[j].entries * messages);
            now->inner = now->objects = (uint64_t)(growing[j].inner * messages);
            now->bytes += (uint64_t)(growing[j].bytes * messages);
            now->is_string = growing[j].is_string;
        }
        places_end(places, looks[i], true);
    }
}

static unsigned find(struct places *places, struct suspect suspects[SUSPECTS_MAX])
{
    return suspects_find(places, GROWTH_STEADY, 1000, suspects);
}

static void assert_described(const struct places *places, uint32_t id, const char *wanted)
{
    struct note note = { .size = 0 };
    places_describe(places, id, slice_of("folder/"), &note);
    assert_bytes(note_slice(&note), slice_of(wanted));
}

static void a_place_is_itself_again(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t state = below(&places, 0, PLACE_UPVALUE, "state");
    uint32_t seen = below(&places, state, PLACE_FIELD, "seen");
    assert_int_equal(below(&places, 0, PLACE_UPVALUE, "state"), state);
    assert_int_equal(below(&places, state, PLACE_FIELD, "seen"), seen);
    assert_int_not_equal(below(&places, state, PLACE_FIELD, "other"), seen);
    assert_int_not_equal(below(&places, 0, PLACE_LOCAL, "state"), state);
    places_clear(&places);
}

static void places_are_bounded(void **context)
{
    struct places places;
    char name[32];
    (void)context;
    assert_true(places_init(&places));
    for (int i = 0; i < 2 * PLACES_MAX; i++) {
        (void)snprintf(name, sizeof name, "global%d", i);
        (void)below(&places, 0, PLACE_GLOBAL, name);
    }
    assert_int_equal(places.count, PLACES_MAX);
    assert_int_equal(below(&places, 1, PLACE_FIELD, "more"), 1);
    assert_int_equal(below(&places, 0, PLACE_GLOBAL, "global0"), 1);
    places_clear(&places);
}

static void fields_are_bounded(void **context)
{
    struct places places;
    char name[300];
    (void)context;
    assert_true(places_init(&places));
    uint32_t table = below(&places, 0, PLACE_GLOBAL, "table");
    for (int i = 0; i < PLACE_FIELDS_MAX + 1; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(below(&places, table, PLACE_FIELD, name) == table, i == PLACE_FIELDS_MAX);
    }
    assert_true(places.list[table].collection);
    uint32_t deep = below(&places, 0, PLACE_GLOBAL, "deep");
    for (int i = 0; i < 2 * PLACE_DEPTH_MAX; i++) {
        (void)snprintf(name, sizeof name, "d%d", i);
        deep = below(&places, deep, PLACE_FIELD, name);
    }
    assert_int_equal(places.list[deep].depth, PLACE_DEPTH_MAX);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    uint32_t cut = below(&places, 0, PLACE_GLOBAL, name);
    assert_int_equal(strlen(places.list[cut].name), PLACE_NAME_MAX);
    assert_int_equal(below(&places, 0, PLACE_GLOBAL, name), cut);
    places_clear(&places);
}

static void names_as_the_author_wrote_them(void **context)
{
    struct places places;
    (void)context;
    assert_true(places_init(&places));
    uint32_t state = below(&places, 0, PLACE_UPVALUE, "state");
    uint32_t by = below(&places, state, PLACE_FIELD, "by");
    uint32_t meta = below(&places, by, PLACE_METATABLE, "");
    assert_described(&places, state, "upvalue 'state' of handler.lua:3");
    assert_described(&places, below(&places, by, PLACE_FIELD, "id"),
                     "upvalue 'state' of handler.lua:3 .by.id");
    assert_described(&places, below(&places, by, PLACE_FIELD, "to-do"),
                     "upvalue 'state' of handler.lua:3 .by[\"to-do\"]");
    assert_described(&places, below(&places, meta, PLACE_FIELD, "cache"),
                     "upvalue 'state' of handler.lua:3 .by metatable .cache");
    assert_described(&places, below(&places, meta, PLACE_UPVALUE, "inner"),
                     "upvalue 'inner' of handler.lua:3");
    assert_described(&places, below(&places, by, PLACE_LOCAL, "item"), "local 'item' of handler.lua:3");
    uint32_t module = below(&places, 0, PLACE_MODULE, "shop.prices");
    assert_described(&places, below(&places, module, PLACE_FIELD, "memo"), "module shop.prices .memo");
    assert_described(&places, below(&places, 0, PLACE_GLOBAL, "x\n\xff\x1b"),
                     "global 'x\\n\xef\xbf\xbd\\u001b'");
    assert_described(&places, below(&places, 0, PLACE_REGISTRY, ""), "registry");
    places_clear(&places);
}

static void the_deepest_that_explains_it_is_told(void **context)
{
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    (void)context;
    assert_true(places_init(&places));
    uint32_t state = below(&places, 0, PLACE_UPVALUE, "state");
    uint32_t seen = below(&places, state, PLACE_FIELD, "seen");
    (void)below(&places, state, PLACE_FIELD, "quiet");
    grow(&places, &(struct growing){ seen, 1, 2, 100, false }, 1);
    assert_int_equal(find(&places, suspects), 1);
    assert_int_equal(suspects[0].place, seen);
    assert_text(suspects[0].kind, "table");
    assert_int_equal(suspects[0].entries, 1000);
    assert_float_equal(suspects[0].entries_per_message, 1, 0.01);
    assert_float_equal(suspects[0].bytes_per_message, 100, 0.1);
    places_clear(&places);
}

static void what_is_in_a_list_that_grows_is_not_told(void **context)
{
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    (void)context;
    assert_true(places_init(&places));
    uint32_t list = below(&places, 0, PLACE_UPVALUE, "list");
    uint32_t box = below(&places, list, PLACE_UPVALUE, "box");
    const struct growing growing[] = { { list, 1, 0, 48, false }, { box, 2, 0, 100, false } };
    grow(&places, growing, 2);
    assert_int_equal(find(&places, suspects), 1);
    assert_int_equal(suspects[0].place, list);
    assert_int_equal(suspects[0].entries, 1000);
    assert_float_equal(suspects[0].bytes_per_message, 148, 0.1);
    places_clear(&places);
}

static void a_list_of_links_is_told_by_its_head(void **context)
{
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    (void)context;
    assert_true(places_init(&places));
    uint32_t head = below(&places, 0, PLACE_UPVALUE, "head");
    uint32_t next = below(&places, head, PLACE_FIELD, "next");
    assert_int_equal(below(&places, next, PLACE_FIELD, "next"), next);
    grow(&places, &(struct growing){ next, 0, 1, 100, false }, 1);
    assert_int_equal(find(&places, suspects), 1);
    assert_int_equal(suspects[0].place, head);
    assert_text(suspects[0].kind, "linked list");
    places_clear(&places);
}

static void names_that_grow_alike_are_one_table(void **context)
{
    static const char *const names[] = { "de", "fr", "it", "es" };
    for (size_t count = 1; count <= COUNT_OF(names); count++) {
        struct places places;
        struct suspect suspects[SUSPECTS_MAX];
        struct growing growing[COUNT_OF(names)];
        (void)context;
        assert_true(places_init(&places));
        uint32_t table = below(&places, 0, PLACE_GLOBAL, "countries");
        for (size_t i = 0; i < count; i++)
            growing[i] = (struct growing){ below(&places, table, PLACE_FIELD, names[i]), 0.25, 0, 25, false };
        grow(&places, growing, count);
        assert_int_equal(find(&places, suspects), count < 4 ? count : 1);
        if (count == 4) {
            assert_int_equal(suspects[0].place, table);
            assert_text(suspects[0].kind, "nested tables");
            assert_float_equal(suspects[0].entries_per_message, 1, 0.01);
        }
        places_clear(&places);
    }
}

static void the_largest_come_first_and_not_all(void **context)
{
    enum { MANY = 20 };
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    struct growing growing[MANY];
    char name[32];
    (void)context;
    assert_true(places_init(&places));
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "g%u", i);
        growing[i] =
            (struct growing){ below(&places, 0, PLACE_GLOBAL, name), 0, 0, 10 + (i * 7 % MANY), true };
    }
    grow(&places, growing, MANY);
    assert_int_equal(find(&places, suspects), SUSPECTS_MAX);
    for (unsigned i = 0; i < SUSPECTS_MAX; i++) {
        assert_text(suspects[i].kind, "string");
        assert_float_equal(suspects[i].bytes_per_message, (float)(10 + MANY - 1 - i), 0.1);
    }
    places_clear(&places);
}

/* A young state does not accuse what an older one has cleared. */
static void innocence_is_remembered(void **context)
{
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    (void)context;
    assert_true(places_init(&places));
    uint32_t cache = below(&places, 0, PLACE_UPVALUE, "cache");
    for (uint64_t messages = 2000; messages < 20000; messages *= 2) {
        places_begin(&places);
        places.list[cache].now = (struct place_figures){ .entries = 5000, .bytes = 5000 };
        places_end(&places, messages, true);
    }
    suspects_acquit(&places, 16000);
    places_forget(&places);
    grow(&places, &(struct growing){ cache, 1, 0, 100, false }, 1);
    assert_int_equal(find(&places, suspects), 0);
    assert_int_equal(suspects_find(&places, GROWTH_PRESSED, 1000, suspects), 1);
    for (uint64_t messages = 2000; messages <= 16000; messages *= 2) {
        places_begin(&places);
        places.list[cache].now = (struct place_figures){ .entries = messages, .bytes = 100 * messages };
        places_end(&places, messages, true);
    }
    assert_int_equal(suspects_find(&places, GROWTH_STEADY, 16000, suspects), 1);
    places_clear(&places);
}

/* What grew a long time ago may have stopped since. */
static void what_was_not_looked_at_is_not_judged(void **context)
{
    struct places places;
    struct suspect suspects[SUSPECTS_MAX];
    (void)context;
    assert_true(places_init(&places));
    uint32_t list = below(&places, 0, PLACE_UPVALUE, "list");
    grow(&places, &(struct growing){ list, 1, 0, 100, false }, 1);
    assert_int_equal(suspects_find(&places, GROWTH_STEADY, 3900, suspects), 1);
    assert_int_equal(suspects_find(&places, GROWTH_STEADY, 4100, suspects), 0);
    suspects_acquit(&places, 4100);
    assert_int_equal(places.list[list].innocent, 0);
    places_clear(&places);
}

static void samples_are_cut_and_fit_to_print(void **context)
{
    struct places places;
    char key[100];
    (void)context;
    assert_true(places_init(&places));
    struct place *place = &places.list[below(&places, 0, PLACE_GLOBAL, "x")];
    place_add_sample(place, slice_of("order-1"));
    place_add_sample(place, BYTES("a\0\x1b[2J\n"));
    assert_bytes((struct slice){ place->sample, place->sample_bytes },
                 slice_of("order-1, a\\u0000\\u001b[2J\\n"));
    memset(key, '\xc3', sizeof key);
    for (int i = 0; i < 100; i++)
        place_add_sample(place, (struct slice){ key, sizeof key });
    assert_true(place->sample_bytes <= PLACE_SAMPLE_MAX);
    places_clear(&places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_itself_again),
        cmocka_unit_test(places_are_bounded),
        cmocka_unit_test(fields_are_bounded),
        cmocka_unit_test(names_as_the_author_wrote_them),
        cmocka_unit_test(the_deepest_that_explains_it_is_told),
        cmocka_unit_test(what_is_in_a_list_that_grows_is_not_told),
        cmocka_unit_test(a_list_of_links_is_told_by_its_head),
        cmocka_unit_test(names_that_grow_alike_are_one_table),
        cmocka_unit_test(the_largest_come_first_and_not_all),
        cmocka_unit_test(innocence_is_remembered),
        cmocka_unit_test(what_was_not_looked_at_is_not_judged),
        cmocka_unit_test(samples_are_cut_and_fit_to_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
