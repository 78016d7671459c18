/* The JSON writer: what it writes is JSON, whatever texts hold, and numbers come back as they were. */
#include "host/json.h"

#include <math.h>
#include <stdio.h>

#include "json.h"
#include "tools.h"

enum { ROOM = 4096 };

static void assert_written(struct buffer *written, const char *wanted)
{
    assert_false(written->failed);
    assert_bytes((struct slice){ written->data, written->size }, slice_of(wanted));
    assert_true(buffer_append(written, "", 1));
    assert_true(json_is_value(written->data, written->size - 1));
    buffer_clear(written);
}

static void test_members_and_elements(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, ROOM);
    json_open(&to, NULL, '{');
    json_text(&to, "text", "a");
    json_text(&to, "none", NULL);
    json_unsigned(&to, "most", UINT64_MAX);
    json_integer(&to, "least", INT64_MIN);
    json_seconds(&to, "time", 1500000000);
    json_boolean(&to, "yes", true);
    json_open(&to, "list", '[');
    json_open(&to, NULL, '{');
    json_close(&to, '}');
    json_open(&to, NULL, '[');
    json_close(&to, ']');
    json_double(&to, NULL, 0.1);
    json_null(&to, NULL);
    json_close(&to, ']');
    json_boolean(&to, "no", false);
    json_close(&to, '}');
    assert_written(&to, "{\"text\":\"a\",\"none\":null,\"most\":18446744073709551615,"
                        "\"least\":-9223372036854775808,\"time\":1.5,\"yes\":true,\"list\":[{},[],0.1,null],"
                        "\"no\":false}");
}

/* A text that ends like an opening is none. */
static void test_commas(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, ROOM);
    json_open(&to, NULL, '{');
    json_text(&to, "a", "{");
    json_text(&to, "b", "[");
    json_text(&to, "c", "");
    json_close(&to, '}');
    assert_written(&to, "{\"a\":\"{\",\"b\":\"[\",\"c\":\"\"}");
}

static void test_every_byte(void **state)
{
    (void)state;
    struct buffer to;
    for (int byte = 0; byte < 256; byte++) {
        char text[4] = { 'a', (char)byte, '"', '\\' };
        buffer_init(&to, ROOM);
        json_put_text(&to, (struct slice){ text, sizeof text });
        assert_true(buffer_append(&to, "", 1));
        assert_true(json_is_value(to.data, to.size - 1));
        buffer_clear(&to);
    }
}

static void test_numbers_come_back(void **state)
{
    (void)state;
    static const double numbers[] = { 0,
                                      1,
                                      -1,
                                      0.1,
                                      1e-5,
                                      1.0 / 3,
                                      1795992929.578,
                                      9007199254740992.0,
                                      5e-324,
                                      1.7976931348623157e308,
                                      123456789.123456789 };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        struct buffer to;
        buffer_init(&to, ROOM);
        json_put_number(&to, numbers[i]);
        assert_true(buffer_append(&to, "", 1));
        double back = strtod(to.data, NULL);
        assert_memory_equal(&back, &numbers[i], sizeof back);
        assert_true(json_is_value(to.data, to.size - 1));
        buffer_clear(&to);
    }
}

static void test_what_is_no_number(void **state)
{
    (void)state;
    static const double numbers[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        struct buffer to;
        buffer_init(&to, ROOM);
        json_put_number(&to, numbers[i]);
        assert_written(&to, "null");
    }
}

static void test_no_room(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, 10);
    json_open(&to, NULL, '{');
    json_text(&to, "name", "a long text");
    assert_true(to.failed);
    buffer_clear(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_and_elements), cmocka_unit_test(test_commas),
        cmocka_unit_test(test_every_byte),           cmocka_unit_test(test_numbers_come_back),
        cmocka_unit_test(test_what_is_no_number),    cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
