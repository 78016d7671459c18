/* --where: what it takes, what it refuses and in which words, and what matches; see host/dead/filter.h. */
#include "host/dead/filter.h"

#include "tools.h"

enum { NOW = 1800000000 };

static const struct dead_letter letter = {
    .id = INIT_BYTES("m-17"),
    .reason = INIT_BYTES("error"),
    .error = INIT_BYTES("connection = refused\nstack"),
    .queue = INIT_BYTES("orders"),
    .exchange = INIT_BYTES(""),
    .routing_key = INIT_BYTES("order.new"),
    .consumer = INIT_BYTES("orders-2"),
    .host = INIT_BYTES("box"),
    .attempts = 5,
    .died_at = NOW - 3600,
};

static const struct {
    const char *text;
    bool matches;
} tests[] = {
    { "id=m-17", true },      { "id=m-1", false },          { "id!=m-1", true },
    { "id!=m-17", false },    { "id~m-1", true },           { "reason=error", true },
    { "reason~rr", true },    { "error~= refused", true },  { "error=connection = refused", false },
    { "error~stack", true },  { "error~Stack", false },     { "error~", true },
    { "queue=orders", true }, { "exchange=", true },        { "exchange!=", false },
    { "exchange~x", false },  { "routing_key~.new", true }, { "consumer=orders-2", true },
    { "host!=box", false },   { "attempts=5", true },       { "attempts=4", false },
    { "attempts!=4", true },  { "attempts!=5", false },     { "older=59m", true },
    { "older=1h", false },    { "older=2h", false },        { "newer=1h", true },
    { "newer=59m", false },   { "older=0", true },
};

static void test_matching(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(tests); i++) {
        struct filter filter;
        struct error error;
        if (!filter_parse(&filter, tests[i].text, &error))
            fail_msg("%s: %s", tests[i].text, error.text);
        if (filter_matches(&filter, &letter, NOW) != tests[i].matches)
            fail_msg("%s should %smatch", tests[i].text, tests[i].matches ? "" : "not ");
    }
}

static void test_what_is_unknown_is_neither_old_nor_new(void **state)
{
    (void)state;
    const struct dead_letter unknown = { .attempts = -1, .died_at = -1 };
    static const char *const none[] = { "older=0", "newer=100d", "attempts=0", "id=x", "error~x" };
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        struct filter filter;
        struct error error;
        assert_true(filter_parse(&filter, none[i], &error));
        struct dead_letter empty = unknown;
        empty.id = empty.error = slice_of("");
        assert_false(filter_matches(&filter, &empty, NOW));
    }
}

static const struct {
    const char *text;
    const char *problem;
} refusals[] = {
    { "",
      "--where is \"\": give NAME=TEXT, NAME!=TEXT or NAME~PART, where NAME is id, reason, error, queue, " },
    { "id", "--where is \"id\": give NAME=TEXT" },
    { "id!x", "--where is \"id!x\": give NAME=TEXT" },
    { "id>5", "--where is \"id>5\": give NAME=TEXT" },
    { "tenant=a", "--where is \"tenant=a\": give NAME=TEXT" },
    { "ID=a", "--where is \"ID=a\": give NAME=TEXT" },
    { "=a", "--where is \"=a\": give NAME=TEXT" },
    { "attempts=many", "--where is \"attempts=many\": give a whole number, such as attempts=5" },
    { "attempts=", "give a whole number" },
    { "attempts=5x", "give a whole number" },
    { "attempts=-5", "give a whole number" },
    { "attempts=99999999999999999999", "give a whole number" },
    { "attempts~5", "give a whole number" },
    { "older=soon", "--where is \"older=soon\": give a time, such as older=1h" },
    { "older!=1h", "give a time" },
    { "newer~1h", "give a time" },
    { "newer=", "give a time" },
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct filter filter = { .number = 42 };
        struct error error;
        assert_false(filter_parse(&filter, refusals[i].text, &error));
        assert_int_equal(error.code, ERROR_USAGE);
        assert_contains(error.text, refusals[i].problem);
        assert_int_equal(filter.number, 42);
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_what_is_unknown_is_neither_old_nor_new),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
