/* A message's properties on their way from rabbitmq-c to the worker: each arrives, and headers of every kind
 * are read by fields.h as they were sent. */
#include "common/fields.h"
#include "common/wire.h"
#include "host/amqp/internal.h"

#include "tools.h"

static amqp_bytes_t bytes_of(const char *text)
{
    return (amqp_bytes_t){ .len = strlen(text), .bytes = (char *)(uintptr_t)text };
}

static struct slice encode(const amqp_basic_properties_t *properties, struct buffer *buffer)
{
    buffer_init(buffer, WIRE_ATTRIBUTES_MAX);
    assert_true(properties_encode(properties, buffer));
    assert_false(buffer->failed);
    return (struct slice){ buffer->data, buffer->size };
}

static void assert_attribute(struct slice attributes, enum wire_attribute_id id, struct slice wanted)
{
    struct slice value;
    assert_true(wire_find(attributes, id, &value));
    assert_bytes(value, wanted);
}

static unsigned count_attributes(struct slice attributes)
{
    struct wire_attribute attribute;
    unsigned count = 0;
    enum wire_next next;
    while ((next = wire_take_attribute(&attributes, &attribute)) == WIRE_FRAME)
        count++;
    assert_int_equal(next, WIRE_MORE);
    return count;
}

/* Properties that are texts */

static const struct {
    amqp_flags_t flag;
    enum wire_attribute_id id;
    size_t offset;
    const char *value;
} texts[] = {
    { AMQP_BASIC_CONTENT_TYPE_FLAG, WIRE_CONTENT_TYPE, offsetof(amqp_basic_properties_t, content_type), "a" },
    { AMQP_BASIC_CONTENT_ENCODING_FLAG, WIRE_CONTENT_ENCODING,
      offsetof(amqp_basic_properties_t, content_encoding), "b" },
    { AMQP_BASIC_CORRELATION_ID_FLAG, WIRE_CORRELATION_ID, offsetof(amqp_basic_properties_t, correlation_id),
      "c" },
    { AMQP_BASIC_REPLY_TO_FLAG, WIRE_REPLY_TO, offsetof(amqp_basic_properties_t, reply_to), "d" },
    { AMQP_BASIC_EXPIRATION_FLAG, WIRE_EXPIRATION, offsetof(amqp_basic_properties_t, expiration), "60000" },
    { AMQP_BASIC_MESSAGE_ID_FLAG, WIRE_MESSAGE_ID, offsetof(amqp_basic_properties_t, message_id), "f\xff" },
    { AMQP_BASIC_TYPE_FLAG, WIRE_MESSAGE_TYPE, offsetof(amqp_basic_properties_t, type), "g" },
    { AMQP_BASIC_USER_ID_FLAG, WIRE_USER_ID, offsetof(amqp_basic_properties_t, user_id), "h" },
    { AMQP_BASIC_APP_ID_FLAG, WIRE_APP_ID, offsetof(amqp_basic_properties_t, app_id), "" },
    { AMQP_BASIC_CLUSTER_ID_FLAG, WIRE_CLUSTER_ID, offsetof(amqp_basic_properties_t, cluster_id), "j" },
};

static void set_text(amqp_basic_properties_t *properties, size_t i)
{
    amqp_bytes_t bytes = bytes_of(texts[i].value);
    memcpy((char *)properties + texts[i].offset, &bytes, sizeof bytes);
    properties->_flags |= texts[i].flag;
}

static void test_no_properties_at_all(void **state)
{
    (void)state;
    /* rabbitmq-c leaves what no flag speaks of as it was. */
    amqp_basic_properties_t properties;
    struct buffer buffer;
    memset(&properties, 0xa5, sizeof properties);
    properties._flags = 0;
    assert_int_equal(encode(&properties, &buffer).size, 0);
    buffer_clear(&buffer);
}

static void test_each_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        amqp_basic_properties_t properties;
        struct buffer buffer;
        memset(&properties, 0xa5, sizeof properties);
        properties._flags = 0;
        set_text(&properties, i);
        struct slice attributes = encode(&properties, &buffer);
        assert_attribute(attributes, texts[i].id, slice_of(texts[i].value));
        assert_int_equal(count_attributes(attributes), 1);
        buffer_clear(&buffer);
    }
}

static void test_all_together(void **state)
{
    (void)state;
    amqp_basic_properties_t properties = { .timestamp = UINT64_MAX, .priority = 255, .delivery_mode = 2 };
    struct buffer buffer;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        set_text(&properties, i);
    properties._flags |= AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                         AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG;
    struct slice attributes = encode(&properties, &buffer);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        assert_attribute(attributes, texts[i].id, slice_of(texts[i].value));
    assert_attribute(attributes, WIRE_TIMESTAMP, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"));
    assert_attribute(attributes, WIRE_PRIORITY, BYTES("\xff"));
    assert_attribute(attributes, WIRE_DELIVERY_MODE, BYTES("\x02"));
    assert_attribute(attributes, WIRE_HEADERS, BYTES(""));
    assert_int_equal(count_attributes(attributes), COUNT_OF(texts) + 4);
    buffer_clear(&buffer);
}

static void test_timestamp_is_in_host_order(void **state)
{
    (void)state;
    amqp_basic_properties_t properties = { ._flags = AMQP_BASIC_TIMESTAMP_FLAG, .timestamp = 1700000000 };
    struct buffer buffer;
    struct slice value;
    uint64_t timestamp;
    assert_true(wire_find(encode(&properties, &buffer), WIRE_TIMESTAMP, &value));
    assert_int_equal(value.size, sizeof timestamp);
    memcpy(&timestamp, value.data, sizeof timestamp);
    assert_int_equal(timestamp, 1700000000);
    buffer_clear(&buffer);
}

/* Headers, as a publisher's client encoded them: each name, kind and content. */

static const struct {
    struct slice bytes;
    enum field_kind kind;
} headers[] = {
    { INIT_BYTES("\7boolean"
                 "t\1"),
      FIELD_BOOLEAN },
    { INIT_BYTES("\2i8"
                 "b\x80"),
      FIELD_INTEGER },
    { INIT_BYTES("\2u8"
                 "B\xff"),
      FIELD_INTEGER },
    { INIT_BYTES("\3i16"
                 "s\x80\1"),
      FIELD_INTEGER },
    { INIT_BYTES("\3u16"
                 "u\xff\xfe"),
      FIELD_INTEGER },
    { INIT_BYTES("\3i32"
                 "I\x80\0\0\1"),
      FIELD_INTEGER },
    { INIT_BYTES("\3u32"
                 "i\xff\xff\xff\xfe"),
      FIELD_INTEGER },
    { INIT_BYTES("\3i64"
                 "l\x80\0\0\0\0\0\0\1"),
      FIELD_INTEGER },
    { INIT_BYTES("\3u64"
                 "L\xff\xff\xff\xff\xff\xff\xff\xfe"),
      FIELD_UNSIGNED },
    { INIT_BYTES("\3f32"
                 "f\x3f\xc0\0\0"),
      FIELD_DOUBLE },
    { INIT_BYTES("\3f64"
                 "d\xc0\x09\x21\xfb\x54\x44\x2d\x18"),
      FIELD_DOUBLE },
    { INIT_BYTES("\7decimal"
                 "D\2\0\0\1\x3a"),
      FIELD_DOUBLE },
    { INIT_BYTES("\4time"
                 "T\0\0\0\0\x65\x53\xf1\0"),
      FIELD_TIMESTAMP },
    { INIT_BYTES("\4text"
                 "S\0\0\0\4hare"),
      FIELD_BYTES },
    { INIT_BYTES("\6binary"
                 "x\0\0\0\3\0\xff\1"),
      FIELD_BYTES },
    { INIT_BYTES("\4void"
                 "V"),
      FIELD_VOID },
    { INIT_BYTES("\5table"
                 "F\0\0\0\x13\5arrayA\0\0\0\x08I\xff\xff\xff\xf9Vt"
                 "\1"),
      FIELD_TABLE },
    { INIT_BYTES("\0V"), FIELD_VOID },
};

/* The table as it stands in a header frame, its length in front. */
static void write_table(struct buffer *table)
{
    buffer_init(table, 4096);
    assert_true(buffer_append(table, "\0\0\0\0", 4));
    for (size_t i = 0; i < COUNT_OF(headers); i++)
        assert_true(buffer_append(table, headers[i].bytes.data, headers[i].bytes.size));
    table->data[2] = (char)((table->size - 4) >> 8);
    table->data[3] = (char)(table->size - 4);
}

/* rabbitmq-c takes the headers apart and puts them together again: nothing may change on that way. */
static void test_headers_of_every_kind(void **state)
{
    (void)state;
    amqp_pool_t pool;
    struct buffer raw, buffer;
    size_t offset = 0;
    struct slice table, name;
    struct field field;
    amqp_basic_properties_t properties = { ._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG,
                                           .message_id = bytes_of("id-1") };
    write_table(&raw);
    init_amqp_pool(&pool, 4096);
    amqp_bytes_t encoded = { .len = raw.size, .bytes = raw.data };
    assert_int_equal(amqp_decode_table(encoded, &pool, &properties.headers, &offset), AMQP_STATUS_OK);
    struct slice attributes = encode(&properties, &buffer);
    assert_attribute(attributes, WIRE_MESSAGE_ID, slice_of("id-1"));
    assert_true(wire_find(attributes, WIRE_HEADERS, &table));
    assert_bytes(table, (struct slice){ raw.data + 4, raw.size - 4 });
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        assert_int_equal(fields_next_entry(&table, &name, &field), FIELDS_ONE);
        assert_int_equal(field.kind, headers[i].kind);
    }
    assert_int_equal(fields_next_entry(&table, &name, &field), FIELDS_DONE);
    empty_amqp_pool(&pool);
    buffer_clear(&raw);
    buffer_clear(&buffer);
}

/* One header of a text of this size, and what properties_encode says of it. */
static bool encodes_header_of(size_t size, size_t limit, struct buffer *buffer)
{
    char *text = calloc(1, size + 1);
    assert_non_null(text);
    amqp_table_entry_t entry = {
        .key = bytes_of("k"),
        .value = { .kind = AMQP_FIELD_KIND_UTF8, .value.bytes = { .len = size, .bytes = text } },
    };
    const amqp_basic_properties_t properties = { ._flags = AMQP_BASIC_HEADERS_FLAG,
                                                 .headers = { .num_entries = 1, .entries = &entry } };
    buffer_init(buffer, limit);
    bool encoded = properties_encode(&properties, buffer);
    free(text);
    return encoded;
}

/* The largest header that a publisher's frame can bring fits beside every other property. */
static void test_large_headers(void **state)
{
    (void)state;
    enum {
        AROUND = 4 + 1 + 1 + 1 + 4
    }; /* the table's length, the name's, the name, the kind, the text's length */
    struct buffer buffer;
    struct slice table;
    assert_true(encodes_header_of(CONNECTION_FRAME_MAX - AROUND, WIRE_ATTRIBUTES_MAX, &buffer));
    assert_true(wire_find((struct slice){ buffer.data, buffer.size }, WIRE_HEADERS, &table));
    assert_int_equal(table.size, CONNECTION_FRAME_MAX - sizeof(uint32_t));
    buffer_clear(&buffer);
    assert_true(encodes_header_of(WIRE_ATTRIBUTES_MAX - 1 - AROUND, WIRE_ATTRIBUTES_MAX, &buffer));
    buffer_clear(&buffer);
    assert_false(encodes_header_of(WIRE_ATTRIBUTES_MAX - AROUND, WIRE_ATTRIBUTES_MAX, &buffer));
    buffer_clear(&buffer);
    /* Ten short strings of 255 bytes before it, with what stands around each. */
    size_t others = 10 * (WIRE_ATTRIBUTE_BYTES + 255) + 3 * (WIRE_ATTRIBUTE_BYTES + sizeof(uint64_t));
    assert_true(others + 1 + CONNECTION_FRAME_MAX <= WIRE_ATTRIBUTES_MAX);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 200; limit++) {
        struct buffer buffer;
        amqp_basic_properties_t properties = { 0 };
        assert_int_equal(encodes_header_of(10, limit, &buffer), limit >= 1 + 11 + 10); /* id, around, text */
        assert_true(buffer.size <= limit);
        buffer_clear(&buffer);
        for (size_t i = 0; i < COUNT_OF(texts); i++)
            set_text(&properties, i);
        buffer_init(&buffer, limit);
        bool encoded = properties_encode(&properties, &buffer);
        assert_int_equal(encoded, !buffer.failed);
        assert_int_equal(encoded, limit >= 10 * WIRE_ATTRIBUTE_BYTES + 14);
        buffer_clear(&buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_properties_at_all),
        cmocka_unit_test(test_each_alone),
        cmocka_unit_test(test_all_together),
        cmocka_unit_test(test_timestamp_is_in_host_order),
        cmocka_unit_test(test_headers_of_every_kind),
        cmocka_unit_test(test_large_headers),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
