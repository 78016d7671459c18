/* Dead letters in print: texts that cannot harm a terminal, ages, the table and JSON; see
 * host/dead/text.h, table.h and dead_json.h. */
#include "host/dead/dead_json.h"
#include "host/dead/table.h"
#include "host/dead/text.h"

#include "common/wire.h"

#include "tools.h"

#include <stdio.h>

enum { BYTES_MAX = 1024 * 1024 };

static const struct {
    struct slice text;
    const char *line;
    const char *lines;
} texts[] = {
    { INIT_BYTES(""), "", "" },
    { INIT_BYTES("plain \"text\" \\"), "plain \"text\" \\", "plain \"text\" \\" },
    { INIT_BYTES("m\xc3\xb6hre \xf0\x9f\x90\x87"), "m\xc3\xb6hre \xf0\x9f\x90\x87",
      "m\xc3\xb6hre \xf0\x9f\x90\x87" },
    { INIT_BYTES("a\tb\nc\r"), "a\\x09b\\x0ac\\x0d", "a\tb\nc\\x0d" },
    { INIT_BYTES("\x1b[31m\x7f\0"), "\\x1b[31m\\x7f\\x00", "\\x1b[31m\\x7f\\x00" },
    { INIT_BYTES("\xc2\x9b"), "\\xc2\\x9b", "\\xc2\\x9b" },
    { INIT_BYTES("\xff\xc3"), "\\xff\\xc3", "\\xff\\xc3" },
};

static void test_texts(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char *exact = exact_copy(texts[i].text.data, texts[i].text.size);
        for (int lines = 0; lines <= 1; lines++) {
            buffer_reset(&to);
            text_put(&to, (struct slice){ exact, texts[i].text.size }, lines != 0);
            const char *wanted = lines ? texts[i].lines : texts[i].line;
            assert_bytes((struct slice){ to.data, to.size }, slice_of(wanted));
        }
        free(exact);
    }
    buffer_clear(&to);
}

static void test_widths(void **state)
{
    (void)state;
    const struct slice text = slice_of("m\xc3\xb6hre");
    assert_int_equal(text_width(text), 5);
    assert_int_equal(text_bytes_in(text, 0), 0);
    assert_int_equal(text_bytes_in(text, 1), 1);
    assert_int_equal(text_bytes_in(text, 2), 3);
    assert_int_equal(text_bytes_in(text, 99), 6);
    assert_slice(text_first_line(slice_of("one\ntwo")), "one");
    assert_slice(text_first_line(slice_of("one")), "one");
    assert_slice(text_first_line(slice_of("")), "");
}

static void test_ages(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *age;
    } ages[] = { { 0, "0s" },      { 59, "59s" },   { 60, "1m" },      { 3599, "59m" }, { 3600, "1h" },
                 { 86399, "23h" }, { 86400, "1d" }, { 864000, "10d" }, { -1, "" } };
    struct buffer to;
    buffer_init(&to, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(ages); i++) {
        buffer_reset(&to);
        text_put_age(&to, ages[i].seconds);
        assert_bytes((struct slice){ to.data, to.size }, slice_of(ages[i].age));
    }
    buffer_reset(&to);
    text_put_time(&to, 1700000000);
    assert_bytes((struct slice){ to.data, to.size }, slice_of("2023-11-14T22:13:20Z"));
    buffer_reset(&to);
    text_put_time(&to, INT64_MAX);
    assert_bytes((struct slice){ to.data, to.size }, slice_of("9223372036854775807"));
    buffer_clear(&to);
}

static struct dead_letter letter_of(const char *id, const char *error)
{
    const struct dead_letter letter = { .id = slice_of(id),
                                        .reason = slice_of("error"),
                                        .error = slice_of(error),
                                        .queue = slice_of("orders"),
                                        .exchange = slice_of(""),
                                        .routing_key = slice_of("orders"),
                                        .consumer = slice_of(""),
                                        .host = slice_of(""),
                                        .attempts = 5,
                                        .died_at = 1000,
                                        .cut_bytes = -1,
                                        .body = slice_of(""),
                                        .body_bytes = 250 };
    return letter;
}

static void assert_table(size_t width, const char *wanted)
{
    struct table table;
    char *text = NULL;
    size_t size = 0;
    const struct dead_letter one = letter_of("m-1", "no total"),
                             two = letter_of("m-22", "m\xc3\xb6hre \x1b[31m is missing\nmore");
    struct dead_letter unknown = letter_of("#1", "");
    unknown.attempts = unknown.died_at = -1;
    unknown.queue = unknown.reason = slice_of("");
    unknown.cut_bytes = 20 << 20;
    table_init(&table);
    assert_true(table_add(&table, &one, 1000 + 120));
    assert_true(table_add(&table, &two, 0));
    assert_true(table_add(&table, &unknown, 2000));
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    table_print(&table, width, to);
    assert_int_equal(fclose(to), 0);
    assert_text(text, wanted);
    free(text);
    table_clear(&table);
}

static void test_table(void **state)
{
    (void)state;
    assert_table(0, "ID    REASON  ATTEMPTS  AGE   SIZE  QUEUE   ERROR\n"
                    "m-1   error          5   2m   250B  orders  no total\n"
                    "m-22  error          5   0s   250B  orders  m\xc3\xb6hre \\x1b[31m is missing\n"
                    "#1    -              -    -  20MiB  -       -\n");
    assert_table(57, "ID    REASON  ATTEMPTS  AGE   SIZE  QUEUE   ERROR\n"
                     "m-1   error          5   2m   250B  orders  no total\n"
                     "m-22  error          5   0s   250B  orders  m\xc3\xb6hre \\x1b[3\xe2\x80\xa6\n"
                     "#1    -              -    -  20MiB  -       -\n");
    assert_table(1, "ID    REASON  ATTEMPTS  AGE   SIZE  QUEUE   ERROR\n"
                    "m-1   error          5   2m   250B  orders  no total\n"
                    "m-22  error          5   0s   250B  orders  m\xc3\xb6hre \\x1\xe2\x80\xa6\n"
                    "#1    -              -    -  20MiB  -       -\n");
}

static void test_json(void **state)
{
    (void)state;
    struct buffer to;
    struct dead_letter letter = letter_of("m-\"1\"", "\x1b\xff\n");
    buffer_init(&to, BYTES_MAX);
    dead_json_put(&to, &letter, false);
    assert_bytes((struct slice){ to.data, to.size },
                 slice_of("{\"id\":\"m-\\\"1\\\"\",\"reason\":\"error\",\"error\":\"\\u001b\xef\xbf\xbd\\n\","
                          "\"attempts\":5,\"died_at\":\"1970-01-01T00:16:40Z\",\"queue\":\"orders\","
                          "\"exchange\":\"\",\"routing_key\":\"orders\",\"bytes\":250}\n"));
    buffer_clear(&to);
}

static const struct {
    struct slice body;
    const char *json;
} bodies[] = {
    { INIT_BYTES(""), "\"body\":\"\"" },
    { INIT_BYTES("{\"a\":1}"), "\"body\":\"{\\\"a\\\":1}\"" },
    { INIT_BYTES("\0\x1b"), "\"body\":\"\\u0000\\u001b\"" },
    { INIT_BYTES("\xff"), "\"body_base64\":\"/w==\"" },
    { INIT_BYTES("\xff\xfe"), "\"body_base64\":\"//4=\"" },
    { INIT_BYTES("\xff\xfe\xfd"), "\"body_base64\":\"//79\"" },
    { INIT_BYTES("\xffhare!"), "\"body_base64\":\"/2hhcmUh\"" },
};

/* With every kind of field and property, and any body, on one line. */
static void test_whole_json(void **state)
{
    (void)state;
    const struct slice headers =
        BYTES("\1tt\1\1bb\x80\1Li\xff\xff\xff\xff\1UL\xff\xff\xff\xff\xff\xff\xff\xff"
              "\1dd\x3f\xf8\0\0\0\0\0\0\1nd\x7f\xf8\0\0\0\0\0\0\1TT\0\0\0\0\x65\x92\0\x80"
              "\1sS\0\0\0\2\xff\"\1FF\0\0\0\3\1aV\1AA\0\0\0\2VV\1eF\0\0\0\0");
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct buffer to, attributes;
        struct dead_letter letter = letter_of("m-1", "");
        buffer_init(&to, BYTES_MAX);
        buffer_init(&attributes, BYTES_MAX);
        wire_add(&attributes, WIRE_CONTENT_TYPE, slice_of("text/plain"));
        wire_add(&attributes, WIRE_PRIORITY, slice_of("\7"));
        wire_add(&attributes, WIRE_TIMESTAMP, BYTES("\1\0\0\0\0\0\0\0"));
        letter.attributes = (struct slice){ attributes.data, attributes.size };
        letter.headers = headers;
        letter.body = bodies[i].body;
        letter.body_bytes = letter.body.size;
        dead_json_put(&to, &letter, true);
        assert_true(buffer_append(&to, "", 1));
        assert_int_equal(to.data[to.size - 2], '\n');
        assert_contains(to.data, bodies[i].json);
        assert_contains(to.data,
                        "\"properties\":{\"content_type\":\"text/plain\",\"priority\":7,\"timestamp\":1}");
        assert_contains(to.data,
                        "\"headers\":{\"t\":true,\"b\":-128,\"L\":4294967295,\"U\":18446744073709551615,"
                        "\"d\":1.5,\"n\":null,\"T\":1704067200,\"s\":\"\xef\xbf\xbd\\\"\",\"F\":{\"a\":null},"
                        "\"A\":[null,null],\"e\":{}}");
        buffer_clear(&to);
        buffer_clear(&attributes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts), cmocka_unit_test(test_widths), cmocka_unit_test(test_ages),
        cmocka_unit_test(test_table), cmocka_unit_test(test_json),   cmocka_unit_test(test_whole_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
