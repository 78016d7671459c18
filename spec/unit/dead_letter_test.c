/* Dead letters read from what the host and what the broker write into them, from garbage, and written back;
 * see host/dead/dead_letter.h. */
#include "host/dead/dead_letter.h"

#include "common/fields.h"
#include "common/own_headers.h"
#include "common/wire.h"
#include "host/dead/dead_json.h"
#include "host/dead/show.h"
#include "host/dead/table.h"
#include "host/letter.h"

#include "tools.h"

#include <stdio.h>

enum { BYTES_MAX = 256 * 1024 };

static struct slice all(const struct buffer *buffer)
{
    assert_false(buffer->failed);
    return (struct slice){ buffer->data, buffer->size };
}

/* What a publisher wrote. */
static void write_message(struct buffer *to, const char *id)
{
    const uint8_t mode = 2;
    struct buffer headers;
    buffer_init(&headers, BYTES_MAX);
    fields_put_name(&headers, slice_of("tenant"));
    fields_put_bytes(&headers, slice_of("eu"));
    fields_put_name(&headers, slice_of("CC"));
    size_t mark = fields_begin_array(&headers);
    fields_put_bytes(&headers, slice_of("audit"));
    fields_end(&headers, mark);
    wire_add(to, WIRE_EXCHANGE, slice_of("shop"));
    wire_add(to, WIRE_ROUTING_KEY, slice_of("order.new"));
    wire_add(to, WIRE_CONTENT_TYPE, slice_of("text/plain"));
    wire_add(to, WIRE_DELIVERY_MODE, (struct slice){ (const char *)&mode, 1 });
    wire_add(to, WIRE_EXPIRATION, slice_of("60000"));
    wire_add(to, WIRE_USER_ID, slice_of("alice"));
    if (id)
        wire_add(to, WIRE_MESSAGE_ID, slice_of(id));
    wire_add(to, WIRE_HEADERS, all(&headers));
    buffer_clear(&headers);
}

/* The same after the host gave it up. */
static void write_dead(struct buffer *to, const char *id, int64_t cut_bytes)
{
    struct buffer message;
    const struct letter letter = { .to = "orders.dead",
                                   .queue = "orders",
                                   .attempt = 5,
                                   .wait_ms = -1,
                                   .reason = "error",
                                   .error = slice_of("handler.lua:3: no total"),
                                   .time = 1700000000,
                                   .host = "box",
                                   .consumer = "orders-2",
                                   .body_bytes = cut_bytes };
    buffer_init(&message, BYTES_MAX);
    write_message(&message, id);
    letter_write(&letter, all(&message), to);
    buffer_clear(&message);
}

static void test_a_letter_of_the_host(void **state)
{
    (void)state;
    struct buffer dead;
    struct dead_letter letter;
    buffer_init(&dead, BYTES_MAX);
    write_dead(&dead, "m-1", -1);
    dead_letter_read(&letter, all(&dead), slice_of("body"), 4);
    assert_slice(letter.id, "m-1");
    assert_slice(letter.reason, "error");
    assert_slice(letter.error, "handler.lua:3: no total");
    assert_slice(letter.queue, "orders");
    assert_slice(letter.exchange, "shop");
    assert_slice(letter.routing_key, "order.new");
    assert_slice(letter.consumer, "orders-2");
    assert_slice(letter.host, "box");
    assert_int_equal(letter.attempts, 5);
    assert_int_equal(letter.died_at, 1700000000);
    assert_int_equal(letter.cut_bytes, -1);
    assert_true(letter.by_host);
    buffer_clear(&dead);
}

/* A consumer that takes it from its old queue sees what was published first, at its first attempt. */
static void test_it_goes_back_as_it_was(void **state)
{
    (void)state;
    struct buffer message, dead, back, restored;
    struct dead_letter letter;
    const char *why;
    uint32_t failed = 42;
    struct slice was, is, value;
    struct wire_attribute attribute;
    buffer_init(&message, BYTES_MAX);
    buffer_init(&dead, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    buffer_init(&restored, BYTES_MAX);
    write_message(&message, "m-1");
    write_dead(&dead, "m-1", -1);
    dead_letter_read(&letter, all(&dead), slice_of("body"), 4);
    assert_true(dead_letter_write_back(&letter, &back, &why));
    assert_true(wire_find(all(&back), WIRE_ROUTING_KEY, &value));
    assert_slice(value, "orders");
    assert_false(wire_find(all(&back), WIRE_EXCHANGE, &value) && value.size > 0);
    assert_false(wire_find(all(&back), WIRE_EXPIRATION, &value));
    assert_false(wire_find(all(&back), WIRE_USER_ID, &value));
    assert_int_equal(letter_restore(all(&back), "orders", &restored, &failed), LETTER_RETURNED);
    was = all(&message);
    size_t count = 0;
    while (wire_take_attribute(&was, &attribute) == WIRE_FRAME) {
        assert_true(wire_find(all(&restored), (enum wire_attribute_id)attribute.id, &value));
        assert_int_equal(value.size, attribute.value.size);
        if (attribute.id != WIRE_HEADERS)
            assert_bytes(value, attribute.value);
        count++;
    }
    for (is = all(&restored); wire_take_attribute(&is, &attribute) == WIRE_FRAME;)
        count--;
    assert_int_equal(count, 0);
    buffer_clear(&message);
    buffer_clear(&dead);
    buffer_clear(&back);
    buffer_clear(&restored);
}

static void test_what_cannot_go_back(void **state)
{
    (void)state;
    struct buffer dead, back;
    struct dead_letter letter;
    const char *why = NULL;
    buffer_init(&dead, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    write_message(&dead, "m-1");
    dead_letter_read(&letter, all(&dead), slice_of(""), 0);
    assert_false(dead_letter_write_back(&letter, &back, &why));
    assert_text(why, "it does not say which queue it came from");
    buffer_reset(&dead);
    write_dead(&dead, "m-1", 20000000);
    dead_letter_read(&letter, all(&dead), slice_of(""), 0);
    assert_int_equal(letter.cut_bytes, 20000000);
    assert_false(dead_letter_write_back(&letter, &back, &why));
    assert_text(why, "its body was too large for limits.message, and was left out");
    assert_int_equal(back.size, 0);
    buffer_clear(&dead);
    buffer_clear(&back);
}

/* The broker's own notes, the latest first, as rabbit_dead_letter writes them. */
static void write_deaths(struct buffer *to)
{
    fields_put_name(to, slice_of("x-death"));
    size_t deaths = fields_begin_array(to);
    for (int i = 0; i < 2; i++) {
        size_t death = fields_begin_table(to);
        fields_put_name(to, slice_of("count"));
        fields_put_integer(to, i + 3);
        fields_put_name(to, slice_of("reason"));
        fields_put_bytes(to, slice_of(i == 0 ? "rejected" : "expired"));
        fields_put_name(to, slice_of("queue"));
        fields_put_bytes(to, slice_of(i == 0 ? "orders" : "elsewhere"));
        fields_put_name(to, slice_of("time"));
        fields_put_timestamp(to, 1700000000);
        fields_put_name(to, slice_of("exchange"));
        fields_put_bytes(to, slice_of("shop"));
        fields_put_name(to, slice_of("routing-keys"));
        size_t keys = fields_begin_array(to);
        fields_put_bytes(to, slice_of("order.new"));
        fields_end(to, keys);
        fields_end(to, death);
    }
    fields_end(to, deaths);
    fields_put_name(to, slice_of("x-first-death-queue"));
    fields_put_bytes(to, slice_of("elsewhere"));
    fields_put_name(to, slice_of("tenant"));
    fields_put_bytes(to, slice_of("eu"));
}

static void test_a_letter_of_the_broker(void **state)
{
    (void)state;
    struct buffer headers, dead, back;
    struct dead_letter letter;
    struct slice value;
    struct field field;
    const char *why;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&dead, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    write_deaths(&headers);
    wire_add(&dead, WIRE_HEADERS, all(&headers));
    dead_letter_read(&letter, all(&dead), slice_of("body"), 4);
    assert_false(letter.by_host);
    assert_slice(letter.reason, "rejected");
    assert_slice(letter.queue, "orders");
    assert_slice(letter.exchange, "shop");
    assert_slice(letter.routing_key, "order.new");
    assert_int_equal(letter.attempts, 3);
    assert_int_equal(letter.died_at, 1700000000);
    assert_true(dead_letter_write_back(&letter, &back, &why));
    assert_true(wire_find(all(&back), WIRE_HEADERS, &value));
    assert_false(fields_find(value, "x-death", &field));
    assert_false(fields_find(value, "x-first-death-queue", &field));
    assert_true(fields_find(value, "tenant", &field));
    assert_true(fields_find(value, OWN_EXCHANGE, &field));
    assert_slice(field.bytes, "shop");
    buffer_clear(&headers);
    buffer_clear(&dead);
    buffer_clear(&back);
}

static void name_of(const char *id, const char *body, size_t body_given, char name[64])
{
    struct buffer dead;
    struct dead_letter letter;
    buffer_init(&dead, BYTES_MAX);
    write_dead(&dead, id, -1);
    dead_letter_read(&letter, all(&dead), (struct slice){ body, body_given }, strlen(body));
    (void)snprintf(name, 64, "%.*s", (int)letter.id.size, letter.id.data);
    buffer_clear(&dead);
}

/* One without an id is called after its content, however much of the body was kept beyond what counts. */
static void test_names(void **state)
{
    (void)state;
    char one[64], other[64];
    char *body = malloc(DEAD_LETTER_NAMED_BODY + 101);
    assert_non_null(body);
    memset(body, 'b', DEAD_LETTER_NAMED_BODY + 100);
    body[DEAD_LETTER_NAMED_BODY + 100] = '\0';
    name_of(NULL, "one", 3, one);
    assert_int_equal(strlen(one), 13);
    assert_int_equal(one[0], '#');
    name_of(NULL, "one", 3, other);
    assert_text(one, other);
    name_of("", "one", 3, other);
    assert_text(one, other);
    name_of(NULL, "two", 3, other);
    assert_string_not_equal(one, other);
    name_of(NULL, body, DEAD_LETTER_NAMED_BODY, one);
    name_of(NULL, body, DEAD_LETTER_NAMED_BODY + 100, other);
    assert_text(one, other);
    name_of("m-1", "one", 3, one);
    assert_text(one, "m-1");
    free(body);
}

static void test_headers_of_other_kinds(void **state)
{
    (void)state;
    struct buffer headers, dead;
    struct dead_letter letter;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&dead, BYTES_MAX);
    fields_put_name(&headers, slice_of(OWN_REASON));
    fields_put_bytes(&headers, slice_of("error"));
    fields_put_name(&headers, slice_of(OWN_QUEUE));
    fields_put_integer(&headers, 7);
    fields_put_name(&headers, slice_of(OWN_ATTEMPT));
    fields_put_bytes(&headers, slice_of("many"));
    fields_put_name(&headers, slice_of(OWN_TIME));
    fields_put_integer(&headers, -1);
    fields_put_name(&headers, slice_of(OWN_ERROR));
    fields_put_void(&headers);
    wire_add(&dead, WIRE_HEADERS, all(&headers));
    dead_letter_read(&letter, all(&dead), slice_of(""), 0);
    assert_slice(letter.queue, "");
    assert_slice(letter.error, "");
    assert_int_equal(letter.attempts, -1);
    assert_int_equal(letter.died_at, -1);
    buffer_clear(&headers);
    buffer_clear(&dead);
}

/* Whatever stands in the headers, it is read, shown and written back without reading past its end. */
static void test_garbage(void **state)
{
    (void)state;
    struct random random = { 5 };
    struct buffer headers, dead, page;
    buffer_init(&headers, BYTES_MAX);
    buffer_init(&dead, BYTES_MAX);
    buffer_init(&page, 16 * BYTES_MAX);
    for (unsigned round = 0; round < 5000; round++) {
        struct dead_letter letter;
        struct table table;
        const char *why;
        buffer_reset(&headers);
        buffer_reset(&dead);
        buffer_reset(&page);
        write_deaths(&headers);
        for (unsigned i = 0; i < 8; i++)
            headers.data[random_below(&random, (unsigned)headers.size)] = (char)random_next(&random);
        headers.size = random_below(&random, (unsigned)headers.size + 1);
        wire_add(&dead, WIRE_HEADERS, (struct slice){ headers.data, headers.size });
        char *exact = exact_copy(dead.data, dead.size);
        dead_letter_read(&letter, (struct slice){ exact, dead.size }, slice_of("\xff\x1b[31m\n"), 6);
        table_init(&table);
        assert_true(table_add(&table, &letter, 1800000000));
        table_clear(&table);
        dead_json_put(&page, &letter, true);
        show_put_letter(&page, &letter, 1800000000);
        (void)dead_letter_write_back(&letter, &page, &why);
        assert_false(page.failed);
        free(exact);
    }
    buffer_clear(&headers);
    buffer_clear(&dead);
    buffer_clear(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_letter_of_the_host),
        cmocka_unit_test(test_it_goes_back_as_it_was),
        cmocka_unit_test(test_what_cannot_go_back),
        cmocka_unit_test(test_a_letter_of_the_broker),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_headers_of_other_kinds),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
