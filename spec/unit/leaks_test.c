/* What the host keeps of leaks, and how it tells them; see host/leaks.h. */
#include "host/leaks.h"

#include "tools.h"

#include <stdio.h>

static struct leak_suspect *add(struct leaks *leaks, const char *path, uint64_t entries, int64_t now_ns,
                                bool *ret_new)
{
    const struct wire_leak leak = {
        .entries = entries, .entries_per_message = 1, .bytes = 100 * entries, .bytes_per_message = 112.4
    };
    const struct leak_names names = { slice_of(path), slice_of("table"), slice_of("a, b") };
    return leaks_add(leaks, 1, &leak, &names, now_ns, ret_new);
}

static void each_variable_is_there_once(void **context)
{
    struct leaks leaks = { .count = 0 };
    bool is_new;
    (void)context;
    struct leak_suspect *first = add(&leaks, "global 'x'", 10, 1, &is_new);
    assert_true(is_new);
    assert_ptr_equal(add(&leaks, "global 'x'", 20, 2, &is_new), first);
    assert_false(is_new);
    assert_int_equal(leaks.count, 1);
    assert_int_equal(leaks.told, 2);
    assert_int_equal(first->entries, 20);
    assert_int_equal(first->bytes, 2000);
    assert_int_equal(first->lane, 1);
    assert_int_equal(first->found_ns, 2);
    assert_text(first->kind, "table");
    assert_text(first->sample, "a, b");
}

static void the_oldest_makes_room(void **context)
{
    struct leaks leaks = { .count = 0 };
    char path[32];
    bool is_new;
    (void)context;
    for (int i = 0; i < LEAKS_MAX; i++) {
        (void)snprintf(path, sizeof path, "global 'x%d'", i);
        (void)add(&leaks, path, 1, i, &is_new);
    }
    (void)add(&leaks, "global 'x0'", 2, 100, &is_new);
    assert_false(is_new);
    (void)add(&leaks, "another", 1, 101, &is_new);
    assert_true(is_new);
    assert_int_equal(leaks.count, LEAKS_MAX);
    (void)add(&leaks, "global 'x0'", 3, 102, &is_new);
    assert_false(is_new);
    (void)add(&leaks, "global 'x1'", 3, 103, &is_new);
    assert_true(is_new);
}

/* A worker that has been taken over may call a variable what it likes. */
static void texts_are_made_fit_to_print(void **context)
{
    struct leaks leaks = { .count = 0 };
    char long_path[2 * LEAK_PATH_MAX + 1];
    bool is_new;
    (void)context;
    assert_text(add(&leaks, "a\x1b[2J\n\xff\xc3\xa9z", 1, 1, &is_new)->path, "a?[2J??\xc3\xa9z");
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    assert_int_equal(strlen(add(&leaks, long_path, 1, 1, &is_new)->path), LEAK_PATH_MAX);
}

static void described_in_a_line(void **context)
{
    static const struct {
        struct leak_suspect suspect;
        const char *line;
    } cases[] = {
        { { .path = "upvalue 'seen' of handler.lua:3",
            .kind = "table",
            .entries = 48213,
            .entries_per_message = 1,
            .bytes_per_message = 112.3 },
          "upvalue 'seen' of handler.lua:3, table, 48213 entries, +1.0 per message, +112 bytes per message" },
        { { .path = "x", .kind = "array", .entries = 5, .entries_per_message = 0.05, .bytes_per_message = 8 },
          "x, array, 5 entries, +0.050 per message, +8 bytes per message" },
        { { .path = "x", .kind = "array", .entries = 5, .entries_per_message = 0.5, .bytes_per_message = 8 },
          "x, array, 5 entries, +0.50 per message, +8 bytes per message" },
        { { .path = "x", .kind = "string", .bytes = 120000, .bytes_per_message = 12 },
          "x, string, 120000 bytes, +12 bytes per message" },
        { { .path = "x", .kind = "t", .entries_per_message = 1e300, .bytes_per_message = 1e300 },
          "x, t, 0 entries, +1000000000000000.0 per message, +1000000000000000 bytes per message" },
    };
    char line[LEAK_LINE_MAX];
    (void)context;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_text(leaks_describe(&cases[i].suspect, line), cases[i].line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_variable_is_there_once),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(texts_are_made_fit_to_print),
        cmocka_unit_test(described_in_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
