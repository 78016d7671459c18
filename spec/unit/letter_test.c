/* A message on its way and back: what the host rewrites, and that it restores it. */
#include "host/letter.h"

#include "common/fields.h"
#include "common/own_headers.h"
#include "common/wire.h"

#include "tools.h"

#include <stdio.h>

enum { BYTES_MAX = 64 * 1024 };

/* What a publisher wrote: every kind of property, and headers of which some mean something to the broker. */
static void write_headers(struct buffer *to, bool with_cc, bool with_death)
{
    fields_put_name(to, slice_of("tenant"));
    fields_put_bytes(to, slice_of("eu"));
    if (with_cc) {
        fields_put_name(to, slice_of("CC"));
        size_t mark = fields_begin_array(to);
        fields_put_bytes(to, slice_of("audit"));
        fields_end(to, mark);
    }
    if (with_death) {
        fields_put_name(to, slice_of("x-death"));
        size_t deaths = fields_begin_array(to);
        size_t death = fields_begin_table(to);
        fields_put_name(to, slice_of("queue"));
        fields_put_bytes(to, slice_of("elsewhere"));
        fields_end(to, death);
        fields_end(to, deaths);
    }
    fields_put_name(to, slice_of("count"));
    fields_put_integer(to, 7);
}

static void add_headers(struct buffer *to, const struct buffer *headers)
{
    wire_add(to, WIRE_HEADERS, (struct slice){ headers->data, headers->size });
}

static void write_message(struct buffer *to, const struct buffer *headers)
{
    const uint8_t mode = 2;
    wire_add(to, WIRE_CONSUMER_TAG, slice_of("tag"));
    wire_add(to, WIRE_EXCHANGE, slice_of("shop"));
    wire_add(to, WIRE_ROUTING_KEY, slice_of("order.new"));
    wire_add(to, WIRE_EXPIRATION, slice_of("60000"));
    wire_add(to, WIRE_CONTENT_TYPE, slice_of("application/json"));
    wire_add(to, WIRE_MESSAGE_ID, slice_of("m-1"));
    wire_add(to, WIRE_DELIVERY_MODE, (struct slice){ (const char *)&mode, 1 });
    if (headers)
        add_headers(to, headers);
}

static struct slice all(const struct buffer *buffer)
{
    assert_false(buffer->failed);
    return (struct slice){ buffer->data, buffer->size };
}

static struct slice attribute(const struct buffer *buffer, enum wire_attribute_id id)
{
    struct slice value = { 0 };
    (void)wire_find(all(buffer), id, &value);
    return value;
}

static struct field header(const struct buffer *buffer, const char *name)
{
    struct field field = { .kind = FIELD_VOID };
    struct slice headers = attribute(buffer, WIRE_HEADERS);
    assert_true(fields_are_sound(headers));
    (void)fields_find(headers, name, &field);
    return field;
}

static void assert_header(const struct buffer *buffer, const char *name, const char *text)
{
    struct field field = header(buffer, name);
    assert_int_equal(field.kind, FIELD_BYTES);
    assert_bytes(field.bytes, slice_of(text));
}

static const struct letter retry = {
    .to = "orders.retry.1150", .queue = "orders", .attempt = 2, .wait_ms = 1100
};

static void test_a_retry_goes_out(void **state)
{
    (void)state;
    struct buffer headers, message, out;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&message, BYTES_MAX);
    buffer_init(&out, BYTES_MAX);
    write_headers(&headers, true, false);
    write_message(&message, &headers);
    letter_write(&retry, all(&message), &out);
    assert_slice(attribute(&out, WIRE_ROUTING_KEY), "orders.retry.1150");
    assert_slice(attribute(&out, WIRE_EXPIRATION), "1100");
    assert_slice(attribute(&out, WIRE_MESSAGE_ID), "m-1");
    assert_int_equal(attribute(&out, WIRE_EXCHANGE).size, 0);
    assert_int_equal(attribute(&out, WIRE_CONSUMER_TAG).size, 0);
    assert_header(&out, "tenant", "eu");
    assert_header(&out, OWN_EXCHANGE, "shop");
    assert_header(&out, OWN_ROUTING_KEY, "order.new");
    assert_header(&out, OWN_QUEUE, "orders");
    assert_header(&out, OWN_EXPIRATION, "60000");
    assert_int_equal(header(&out, OWN_ATTEMPT).integer, 2);
    assert_int_equal(header(&out, "CC").kind, FIELD_VOID);
    assert_int_equal(header(&out, OWN_CC).kind, FIELD_ARRAY);
    assert_int_equal(header(&out, OWN_REASON).kind, FIELD_VOID);
    buffer_clear(&headers);
    buffer_clear(&message);
    buffer_clear(&out);
}

/* What a broker does to it on the way: it comes by the default exchange, without expiration, with a note of
 * death. */
static void come_back(const struct buffer *out, struct buffer *came, bool first_death)
{
    struct buffer headers;
    struct slice rest = attribute(out, WIRE_HEADERS), name;
    struct slice entry = rest;
    struct field field;
    buffer_init(&headers, BYTES_MAX);
    bool had_death = false;
    while (fields_next_entry(&rest, &name, &field) == FIELDS_ONE) {
        size_t size = entry.size - rest.size;
        if (slice_equals(name, "x-death")) {
            had_death = true;
            fields_put_name(&headers, name);
            size_t deaths = fields_begin_array(&headers);
            size_t death = fields_begin_table(&headers);
            fields_put_name(&headers, slice_of("queue"));
            fields_put_bytes(&headers, slice_of("orders.retry.1150"));
            fields_end(&headers, death);
            (void)buffer_append(&headers, field.bytes.data, field.bytes.size);
            fields_end(&headers, deaths);
        } else {
            (void)buffer_append(&headers, entry.data, size);
        }
        entry = rest;
    }
    if (!had_death) {
        fields_put_name(&headers, slice_of("x-death"));
        size_t deaths = fields_begin_array(&headers);
        size_t death = fields_begin_table(&headers);
        fields_put_name(&headers, slice_of("queue"));
        fields_put_bytes(&headers, slice_of("orders.retry.100"));
        fields_end(&headers, death);
        fields_end(&headers, deaths);
    }
    if (first_death) {
        fields_put_name(&headers, slice_of("x-first-death-queue"));
        fields_put_bytes(&headers, slice_of("orders.retry.100"));
        fields_put_name(&headers, slice_of("x-first-death-reason"));
        fields_put_bytes(&headers, slice_of("expired"));
    }
    wire_add(came, WIRE_CONSUMER_TAG, slice_of("tag"));
    wire_add(came, WIRE_EXCHANGE, slice_of(""));
    wire_add(came, WIRE_ROUTING_KEY, slice_of("orders"));
    static const enum wire_attribute_id kept[] = { WIRE_CONTENT_TYPE, WIRE_MESSAGE_ID, WIRE_DELIVERY_MODE };
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        wire_add(came, kept[i], attribute(out, kept[i]));
    add_headers(came, &headers);
    buffer_clear(&headers);
}

static bool same_message(const struct buffer *one, const struct buffer *other)
{
    for (int id = WIRE_EXCHANGE; id <= WIRE_DELIVERY_MODE; id++) {
        struct slice a = attribute(one, (enum wire_attribute_id)id);
        struct slice b = attribute(other, (enum wire_attribute_id)id);
        if (!slice_same(a, b))
            return false;
    }
    return true;
}

static void test_it_comes_back_as_it_was(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool with_headers = i & 1, with_cc = i & 2, with_death = i & 4;
        struct buffer headers, message, out, came, restored;
        uint32_t failed = 0;
        buffer_init(&headers, BYTES_MAX);
        buffer_init(&message, BYTES_MAX);
        buffer_init(&out, BYTES_MAX);
        buffer_init(&came, BYTES_MAX);
        buffer_init(&restored, BYTES_MAX);
        write_headers(&headers, with_cc, with_death);
        write_message(&message, with_headers ? &headers : NULL);
        letter_write(&retry, all(&message), &out);
        come_back(&out, &came, !with_death);
        assert_int_equal(letter_restore(all(&came), "orders", &restored, &failed), LETTER_RETRIED);
        assert_int_equal(failed, 2);
        assert_true(same_message(&restored, &message));
        buffer_clear(&headers);
        buffer_clear(&message);
        buffer_clear(&out);
        buffer_clear(&came);
        buffer_clear(&restored);
    }
}

static void test_a_dead_letter(void **state)
{
    (void)state;
    char long_text[LETTER_ERROR_MAX + 100];
    memset(long_text, 'e', sizeof long_text);
    const struct letter dead = { .to = "orders.dead",
                                 .queue = "orders",
                                 .attempt = 5,
                                 .wait_ms = -1,
                                 .reason = "error",
                                 .error = { long_text, sizeof long_text },
                                 .time = 1700000000,
                                 .host = "machine",
                                 .consumer = "orders-2",
                                 .body_bytes = 12345 };
    struct buffer headers, message, out, restored;
    uint32_t failed = 0;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&message, BYTES_MAX);
    buffer_init(&out, BYTES_MAX);
    buffer_init(&restored, BYTES_MAX);
    write_headers(&headers, true, true);
    write_message(&message, &headers);
    letter_write(&dead, all(&message), &out);
    assert_slice(attribute(&out, WIRE_ROUTING_KEY), "orders.dead");
    assert_int_equal(attribute(&out, WIRE_EXPIRATION).size, 0);
    assert_header(&out, OWN_REASON, "error");
    assert_header(&out, OWN_HOST, "machine");
    assert_header(&out, OWN_CONSUMER, "orders-2");
    assert_int_equal(header(&out, OWN_ERROR).bytes.size, LETTER_ERROR_MAX);
    assert_int_equal(header(&out, OWN_TIME).kind, FIELD_TIMESTAMP);
    assert_int_equal(header(&out, OWN_TIME).integer, 1700000000);
    assert_int_equal(header(&out, OWN_ATTEMPT).integer, 5);
    assert_int_equal(header(&out, OWN_BODY_BYTES).integer, 12345);
    /* Whoever consumes dead letters sees them with their marks, at their first attempt. */
    assert_int_equal(letter_restore(all(&out), "orders.dead", &restored, &failed), LETTER_NEW);
    assert_int_equal(failed, 0);
    assert_int_equal(restored.size, 0);
    buffer_clear(&headers);
    buffer_clear(&message);
    buffer_clear(&out);
    buffer_clear(&restored);
}

/* Sent back from a dead-letter queue: exchange and routing key are the old ones, and nothing has failed yet.
 */
static void test_a_dead_letter_sent_back(void **state)
{
    (void)state;
    struct buffer headers, message, restored;
    uint32_t failed = 0;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&message, BYTES_MAX);
    buffer_init(&restored, BYTES_MAX);
    fields_put_name(&headers, slice_of(OWN_EXCHANGE));
    fields_put_bytes(&headers, slice_of("shop"));
    fields_put_name(&headers, slice_of(OWN_ROUTING_KEY));
    fields_put_bytes(&headers, slice_of("order.new"));
    wire_add(&message, WIRE_EXCHANGE, slice_of(""));
    wire_add(&message, WIRE_ROUTING_KEY, slice_of("orders"));
    add_headers(&message, &headers);
    assert_int_equal(letter_restore(all(&message), "orders", &restored, &failed), LETTER_RETURNED);
    assert_int_equal(failed, 0);
    assert_slice(attribute(&restored, WIRE_EXCHANGE), "shop");
    assert_slice(attribute(&restored, WIRE_ROUTING_KEY), "order.new");
    assert_int_equal(attribute(&restored, WIRE_HEADERS).size, 0);
    buffer_clear(&headers);
    buffer_clear(&message);
    buffer_clear(&restored);
}

/* Marks that nobody here wrote are headers like any other. */
static void test_marks_that_are_not_ours(void **state)
{
    (void)state;
    static const struct {
        const char *queue;
        int64_t attempt;
    } cases[] = { { "other", 1 }, { "orders", 0 }, { "orders", -3 }, { "orders", INT64_MAX }, { "", 1 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buffer headers, message, restored;
        uint32_t failed = 0;
        buffer_init(&headers, BYTES_MAX);
        buffer_init(&message, BYTES_MAX);
        buffer_init(&restored, BYTES_MAX);
        fields_put_name(&headers, slice_of(OWN_QUEUE));
        fields_put_bytes(&headers, slice_of(cases[i].queue));
        fields_put_name(&headers, slice_of(OWN_ATTEMPT));
        fields_put_integer(&headers, cases[i].attempt);
        write_message(&message, &headers);
        assert_int_equal(letter_restore(all(&message), "orders", &restored, &failed), LETTER_NEW);
        assert_int_equal(failed, 0);
        buffer_clear(&headers);
        buffer_clear(&message);
        buffer_clear(&restored);
    }
}

static void test_attempts(void **state)
{
    (void)state;
    static const struct {
        int64_t count; /* x-delivery-count; -1: none */
        uint32_t failed;
        bool redelivered;
        uint32_t attempt;
    } cases[] = {
        { -1, 0, false, 1 }, { -1, 0, true, 2 }, { -1, 3, false, 4 },       { -1, 3, true, 5 },
        { 0, 0, false, 1 },  { 0, 0, true, 2 },  { 1, 0, true, 2 },         { 4, 0, true, 5 },
        { 4, 2, true, 7 },   { 4, 0, false, 1 }, { INT64_MAX, 0, true, 2 }, { -5, 0, true, 2 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buffer headers, attributes;
        buffer_init(&headers, BYTES_MAX);
        buffer_init(&attributes, BYTES_MAX);
        if (cases[i].count != -1) {
            fields_put_name(&headers, slice_of("x-delivery-count"));
            fields_put_integer(&headers, cases[i].count);
        }
        add_headers(&attributes, &headers);
        assert_int_equal(letter_attempt(all(&attributes), cases[i].redelivered, cases[i].failed),
                         cases[i].attempt);
        buffer_clear(&headers);
        buffer_clear(&attributes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_retry_goes_out),        cmocka_unit_test(test_it_comes_back_as_it_was),
        cmocka_unit_test(test_a_dead_letter),           cmocka_unit_test(test_a_dead_letter_sent_back),
        cmocka_unit_test(test_marks_that_are_not_ours), cmocka_unit_test(test_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
