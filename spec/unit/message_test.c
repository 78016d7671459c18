/* Taking deliveries apart, and which of them promise JSON; see worker/message.h. */
#include "worker/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct shelf no_shelf;

/* A delivery's payload: attributes and body behind their struct. */
static void put_delivery(struct buffer *payload, struct slice attributes, const char *body)
{
    const struct wire_deliver deliver = { .seq = 1,
                                          .slot = 2,
                                          .attempt = 3,
                                          .attributes_bytes = (uint32_t)attributes.size,
                                          .body_bytes = (uint32_t)strlen(body) };
    char head[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    wire_stamp_deliver(head, &deliver);
    assert_true(buffer_append(payload, head + WIRE_HEADER_BYTES, WIRE_DELIVER_BYTES));
    assert_true(buffer_append(payload, attributes.data, attributes.size));
    assert_true(buffer_append(payload, body, strlen(body)));
}

static struct slice content_of(const struct buffer *buffer)
{
    return (struct slice){ .data = buffer->data, .size = buffer->size };
}

static void attributes_are_found(void **context)
{
    struct buffer attributes, payload;
    struct message message;
    struct slice value;
    (void)context;
    buffer_init(&attributes, 1024);
    buffer_init(&payload, 1024);
    wire_add(&attributes, WIRE_MESSAGE_ID, slice_of("first"));
    wire_add(&attributes, WIRE_MESSAGE_ID, slice_of("second"));
    wire_add(&attributes, WIRE_EXCHANGE, slice_of(""));
    wire_add(&attributes, (enum wire_attribute_id)200, slice_of("of a later version"));
    put_delivery(&payload, content_of(&attributes), "body");
    assert_true(message_parse(content_of(&payload), &no_shelf, &message));
    assert_true(message_find(&message, WIRE_MESSAGE_ID, &value));
    assert_true(slice_equals(value, "first"));
    assert_true(message_find(&message, WIRE_EXCHANGE, &value));
    assert_int_equal(value.size, 0);
    assert_false(message_find(&message, WIRE_ROUTING_KEY, &value));
    assert_true(slice_equals(message.body, "body"));
    assert_int_equal(message.deliver.slot, 2);
    buffer_clear(&attributes);
    buffer_clear(&payload);
}

/* Whatever is cut off the end, nothing is read past it: each length stands at the end of its own memory. */
static void every_shorter_payload_is_refused(void **context)
{
    struct buffer attributes, payload;
    struct message message;
    (void)context;
    buffer_init(&attributes, 1024);
    buffer_init(&payload, 1024);
    wire_add(&attributes, WIRE_MESSAGE_ID, slice_of("m-1"));
    wire_add(&attributes, WIRE_PRIORITY, slice_of("x"));
    put_delivery(&payload, content_of(&attributes), "body");
    for (size_t size = 0; size < payload.size; size++) {
        char *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, payload.data, size);
        assert_false(message_parse((struct slice){ .data = copy, .size = size }, &no_shelf, &message));
        free(copy);
    }
    assert_true(message_parse(content_of(&payload), &no_shelf, &message));
    buffer_clear(&attributes);
    buffer_clear(&payload);
}

/* A body on the shelf is told by its place there, which the payload does not reach into. */
static void a_laid_body_is_on_the_shelf(void **context)
{
    static const struct {
        uint32_t at;
        uint32_t bytes;
        bool read;
    } cases[] = { { 0, 4, true },   { 3, 7, true },           { 9, 1, true },          { 9, 2, false },
                  { 10, 1, false }, { 0, UINT32_MAX, false }, { UINT32_MAX, 1, false } };
    char bytes[] = "0123456789";
    const struct shelf shelf = { .data = bytes, .bytes = 10 };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct wire_deliver deliver = {
            .seq = 1, .body_bytes = cases[i].bytes, .laid = 1, .laid_at = cases[i].at
        };
        char head[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
        struct message message;
        wire_stamp_deliver(head, &deliver);
        const struct slice payload = { head + WIRE_HEADER_BYTES, WIRE_DELIVER_BYTES };
        assert_int_equal(message_parse(payload, &shelf, &message), cases[i].read);
        assert_false(message_parse(payload, &no_shelf, &message));
        if (cases[i].read) {
            assert_true(message_parse(payload, &shelf, &message));
            assert_ptr_equal(message.body.data, bytes + cases[i].at);
            assert_int_equal(message.body.size, cases[i].bytes);
        }
    }
}

static bool promises_json(const char *content_type)
{
    struct message message = { .present = 0 };
    if (content_type) {
        message.present = UINT64_C(1) << WIRE_CONTENT_TYPE;
        message.attributes[WIRE_CONTENT_TYPE] = slice_of(content_type);
    }
    return message_is_json(&message);
}

static void json_is_known_by_its_type(void **context)
{
    static const char *const json[] = {
        "application/json",     "APPLICATION/Json",         "application/json;charset=utf-8",
        " application/json\t;", "application/problem+json", "application/cloudevents+JSON; x=y",
    };
    static const char *const other[] = {
        NULL,
        "",
        ";",
        " ",
        "json",
        "text/json",
        "text/plain",
        "application/jsonx",
        "xapplication/json",
        "application/json+xml",
        "text/plain; x=application/json",
    };
    (void)context;
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++)
        assert_true(promises_json(json[i]));
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_false(promises_json(other[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_are_found),
        cmocka_unit_test(every_shorter_payload_is_refused),
        cmocka_unit_test(a_laid_body_is_on_the_shelf),
        cmocka_unit_test(json_is_known_by_its_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
