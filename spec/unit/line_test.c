/* Messages as lines for `moonrabbit replay`: every field, what JSON cannot hold, bodies in pieces; see
 * host/capture/line.h. */
#include "host/capture/line.h"

#include "common/base64.h"
#include "common/fields.h"
#include "common/wire.h"

#include "tools.h"

enum { BYTES_MAX = 4 * 1024 * 1024 };

static void write_line(struct buffer *to, const struct line_message *message)
{
    struct line line;
    buffer_reset(to);
    line_begin(&line, message, to);
    while (line_next(&line, to))
        continue;
    assert_false(line_next(&line, to));
    assert_false(to->failed);
}

static void assert_line(const struct buffer *attributes, struct slice body, const char *wanted)
{
    struct buffer to;
    const struct line_message message = { .attributes = { attributes->data, attributes->size },
                                          .body = body,
                                          .attempt = 1 };
    buffer_init(&to, BYTES_MAX);
    write_line(&to, &message);
    assert_bytes((struct slice){ to.data, to.size }, slice_of(wanted));
    buffer_clear(&to);
}

static void test_every_field(void **state)
{
    (void)state;
    static const uint64_t seconds = UINT64_MAX;
    struct buffer attributes, to;
    struct line_message message = { .body = slice_of("{\"id\": 1}"), .redelivered = true, .attempt = 3 };
    buffer_init(&attributes, BYTES_MAX);
    buffer_init(&to, BYTES_MAX);
    for (int id = WIRE_CONTENT_TYPE; id <= WIRE_CLUSTER_ID; id++)
        wire_add(&attributes, (enum wire_attribute_id)id, slice_of("x"));
    wire_add(&attributes, WIRE_ROUTING_KEY, slice_of("key"));
    wire_add(&attributes, WIRE_EXCHANGE, slice_of(""));
    wire_add(&attributes, WIRE_CONSUMER_TAG, slice_of("tag"));
    wire_add(&attributes, WIRE_TIMESTAMP, (struct slice){ (const char *)&seconds, sizeof seconds });
    wire_add(&attributes, WIRE_PRIORITY, BYTES("\xff"));
    wire_add(&attributes, WIRE_DELIVERY_MODE, BYTES("\2"));
    wire_add(&attributes, WIRE_HEADERS, BYTES("\1at\1"));
    message.attributes = (struct slice){ attributes.data, attributes.size };
    write_line(&to, &message);
    assert_bytes(
        (struct slice){ to.data, to.size },
        slice_of("{\"exchange\":\"\",\"routing_key\":\"key\",\"id\":\"x\",\"content_type\":\"x\","
                 "\"content_encoding\":\"x\",\"correlation_id\":\"x\",\"reply_to\":\"x\",\"type\":\"x\","
                 "\"app_id\":\"x\",\"user_id\":\"x\",\"expiration\":\"x\","
                 "\"timestamp\":18446744073709551615,\"priority\":255,\"delivery_mode\":2,"
                 "\"headers\":{\"a\":true},\"redelivered\":true,\"attempt\":3,"
                 "\"body\":\"{\\\"id\\\": 1}\"}\n"));
    buffer_clear(&attributes);
    buffer_clear(&to);
}

static void test_what_is_no_text(void **state)
{
    (void)state;
    struct buffer attributes;
    buffer_init(&attributes, BYTES_MAX);
    assert_line(&attributes, BYTES(""), "{\"redelivered\":false,\"attempt\":1,\"body\":\"\"}\n");
    assert_line(&attributes, BYTES("\t\r\n"),
                "{\"redelivered\":false,\"attempt\":1,\"body\":\"\\t\\u000d\\n\"}\n");
    assert_line(&attributes, BYTES("\0"), "{\"redelivered\":false,\"attempt\":1,\"body_base64\":\"AA==\"}\n");
    assert_line(&attributes, BYTES("\xff"),
                "{\"redelivered\":false,\"attempt\":1,\"body_base64\":\"/w==\"}\n");
    wire_add(&attributes, WIRE_CORRELATION_ID, BYTES("\xff"));
    wire_add(&attributes, WIRE_APP_ID, BYTES("\x1b"));
    assert_line(&attributes, BYTES("x"),
                "{\"correlation_id_base64\":\"/w==\",\"app_id\":\"\\u001b\",\"redelivered\":false,"
                "\"attempt\":1,\"body\":\"x\"}\n");
    buffer_clear(&attributes);
}

/* Entries, and whether JSON holds them. */
static const struct {
    struct slice entries;
    bool held;
} tables[] = {
    { INIT_BYTES(""), true },
    { INIT_BYTES("\1at\1\1bb\x80\1LL\xff\xff\xff\xff\xff\xff\xff\xff\1dd\x3f\xf8\0\0\0\0\0\0\1vV"), true },
    { INIT_BYTES("\1sS\0\0\0\2\xc3\xb6\1AA\0\0\0\1V\1FF\0\0\0\3\1aV"), true },
    { INIT_BYTES("\1sS\0\0\0\1\xff"), false },
    { INIT_BYTES("\1xx\0\0\0\1\xff"), false },
    { INIT_BYTES("\1\xffV"), false },
    { INIT_BYTES("\1FF\0\0\0\3\1\xffV"), false },
    { INIT_BYTES("\1AA\0\0\0\6S\0\0\0\1\xff"), false },
    { INIT_BYTES("\1dd\x7f\xf8\0\0\0\0\0\0"), false }, /* not a number */
    { INIT_BYTES("\1dd\x7f\xf0\0\0\0\0\0\0"), false }, /* infinity */
    { INIT_BYTES("\1dd\x80\0\0\0\0\0\0\0"), false },   /* negative zero */
    { INIT_BYTES("\1a"), false },                      /* broken */
};

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        struct buffer attributes, to;
        buffer_init(&attributes, BYTES_MAX);
        buffer_init(&to, BYTES_MAX);
        wire_add(&attributes, WIRE_HEADERS, tables[i].entries);
        const struct line_message message = { .attributes = { attributes.data, attributes.size },
                                              .body = slice_of(""),
                                              .attempt = 1 };
        write_line(&to, &message);
        assert_true(buffer_append(&to, "", 1));
        assert_contains(to.data, tables[i].held ? "{\"headers\":{" : "{\"headers_base64\":\"");
        buffer_clear(&attributes);
        buffer_clear(&to);
    }
}

/* One table deeper than a handler may have. */
static void test_deep_headers(void **state)
{
    (void)state;
    struct buffer headers;
    size_t marks[FIELDS_DEPTH_MAX];
    buffer_init(&headers, BYTES_MAX);
    for (int depth = 0; depth < FIELDS_DEPTH_MAX; depth++) {
        fields_put_name(&headers, slice_of("t"));
        marks[depth] = fields_begin_table(&headers);
    }
    for (int depth = FIELDS_DEPTH_MAX; depth > 0; depth--)
        fields_end(&headers, marks[depth - 1]);
    struct buffer attributes, to;
    buffer_init(&attributes, BYTES_MAX);
    buffer_init(&to, BYTES_MAX);
    wire_add(&attributes, WIRE_HEADERS, (struct slice){ headers.data, headers.size });
    const struct line_message message = { .attributes = { attributes.data, attributes.size },
                                          .body = slice_of("") };
    write_line(&to, &message);
    assert_true(buffer_append(&to, "", 1));
    assert_contains(to.data, "{\"headers_base64\":\"");
    buffer_clear(&headers);
    buffer_clear(&attributes);
    buffer_clear(&to);
}

/* Bodies around the size of a piece, of characters of each length: pieces are bounded, and together they are
 * the body. */
static void test_pieces(void **state)
{
    (void)state;
    static const char *const characters[] = { "x", "\xc3\xb6", "\xe2\x80\xa6", "\xf0\x9f\x90\x87", "\xff" };
    struct buffer body, to, back;
    buffer_init(&body, BYTES_MAX);
    buffer_init(&to, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(characters); i++) {
        for (unsigned lead = 0; lead < 4; lead++) {
            struct line line;
            const struct line_message message = { .attempt = 1 };
            buffer_reset(&body);
            buffer_reset(&back);
            (void)buffer_append(&body, "aaaa", lead);
            while (body.size < 2 * LINE_PIECE_BYTES + lead)
                (void)buffer_append_text(&body, characters[i]);
            struct line_message whole = message;
            whole.body = (struct slice){ body.data, body.size };
            buffer_reset(&to);
            line_begin(&line, &whole, &to);
            for (buffer_reset(&to); line_next(&line, &to); buffer_reset(&to)) {
                assert_true(to.size <= 2 * LINE_PIECE_BYTES);
                (void)buffer_append(&back, to.data, to.size);
            }
            back.size -= strlen("\"}\n");
            if (*characters[i] == '\xff') {
                buffer_reset(&to);
                assert_true(base64_decode((struct slice){ back.data, back.size }, &to));
                buffer_swap(&to, &back);
            }
            assert_bytes((struct slice){ back.data, back.size }, whole.body);
        }
    }
    buffer_clear(&body);
    buffer_clear(&to);
    buffer_clear(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field), cmocka_unit_test(test_what_is_no_text),
        cmocka_unit_test(test_headers),     cmocka_unit_test(test_deep_headers),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
