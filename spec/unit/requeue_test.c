/* The memory of requeued messages: a bounded multiset of fingerprints, each with the attempt it had made. */
#include "host/requeue.h"

#include "common/wire.h"
#include "tools.h"

#include <stdio.h>

static struct requeue_memory memory;

static int set_up(void **state)
{
    (void)state;
    struct error error;
    return requeue_init(&memory, &error) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    requeue_clear(&memory);
    requeue_clear(&memory);
    return 0;
}

/* Fingerprints */

struct message {
    const char *tag;
    const char *exchange;
    const char *routing_key;
    const char *headers;
    const char *id; /* NULL: none */
    const char *body;
};

static uint64_t fingerprint(const struct message *message)
{
    struct buffer attributes;
    buffer_init(&attributes, 4096);
    wire_add(&attributes, WIRE_CONSUMER_TAG, slice_of(message->tag));
    wire_add(&attributes, WIRE_EXCHANGE, slice_of(message->exchange));
    wire_add(&attributes, WIRE_ROUTING_KEY, slice_of(message->routing_key));
    if (message->headers)
        wire_add(&attributes, WIRE_HEADERS, slice_of(message->headers));
    if (message->id)
        wire_add(&attributes, WIRE_MESSAGE_ID, slice_of(message->id));
    char *body = exact_copy(message->body, strlen(message->body));
    uint64_t hash = requeue_fingerprint((struct slice){ attributes.data, attributes.size },
                                        (struct slice){ body, strlen(message->body) });
    free(body);
    buffer_clear(&attributes);
    return hash;
}

static const struct message plain = { "host-1-orders", "shop", "order.new", "\1aV", "id-1", "{\"total\":1}" };

static void test_what_makes_a_message_itself(void **state)
{
    (void)state;
    static const struct message others[] = {
        { "host-1-orders", "shops", "order.new", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "", "order.new", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.old", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", "\1aV", "id-2", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", "\1aV", NULL, "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", "\1aV", "id-1", "{\"total\":2}" },
        { "host-1-orders", "shop", "order.new", "\1aV", "id-1", "" },
        { "host-1-orders", "shopo", "rder.new", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", "\1aV", "id-1{", "\"total\":1}" },
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_true(fingerprint(&plain) != fingerprint(&others[i]));
}

/* A reconnect changes the consumer tag, a quorum queue its count in the headers. */
static void test_what_does_not(void **state)
{
    (void)state;
    static const struct message same[] = {
        { "host-1-orders", "shop", "order.new", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders-2", "shop", "order.new", "\1aV", "id-1", "{\"total\":1}" },
        { "", "shop", "order.new", "\1aV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", "\1bV\1cV", "id-1", "{\"total\":1}" },
        { "host-1-orders", "shop", "order.new", NULL, "id-1", "{\"total\":1}" },
    };
    for (size_t i = 0; i < COUNT_OF(same); i++)
        assert_true(fingerprint(&plain) == fingerprint(&same[i]));
}

static void test_every_bit_of_a_body_counts(void **state)
{
    (void)state;
    enum { BYTES_MAX = 40 };
    for (size_t size = 1; size <= BYTES_MAX; size++) {
        char body[BYTES_MAX] = { 0 };
        uint64_t before = requeue_fingerprint((struct slice){ 0 }, (struct slice){ body, size });
        assert_true(before != requeue_fingerprint((struct slice){ 0 }, (struct slice){ body, size - 1 }));
        for (size_t bit = 0; bit < 8 * size; bit++) {
            body[bit / 8] = (char)(1 << bit % 8);
            assert_true(before != requeue_fingerprint((struct slice){ 0 }, (struct slice){ body, size }));
            body[bit / 8] = 0;
        }
    }
}

/* A hundred thousand small messages as people send them: no two are taken for one. */
static int compare(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one;
    uint64_t b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static void test_alike_messages_are_told_apart(void **state)
{
    (void)state;
    enum { MESSAGES = 100000 };
    uint64_t *hashes = calloc(MESSAGES, sizeof *hashes);
    assert_non_null(hashes);
    for (unsigned i = 0; i < MESSAGES; i++) {
        char body[32];
        struct message message = plain;
        message.body = body;
        (void)snprintf(body, sizeof body, "{\"id\":%u}", i);
        hashes[i] = fingerprint(&message);
    }
    qsort(hashes, MESSAGES, sizeof *hashes, compare);
    for (unsigned i = 1; i < MESSAGES; i++)
        assert_true(hashes[i] != hashes[i - 1]);
    free(hashes);
}

static void test_broken_attributes(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    wire_add(&buffer, WIRE_ROUTING_KEY, slice_of("key"));
    wire_add(&buffer, WIRE_MESSAGE_ID, slice_of("id"));
    for (size_t size = 0; size <= buffer.size; size++) {
        char *cut = exact_copy(buffer.data, size);
        (void)requeue_fingerprint((struct slice){ cut, size }, slice_of("body"));
        free(cut);
    }
    buffer_clear(&buffer);
}

/* The memory */

static void test_one_return_takes_one_entry(void **state)
{
    (void)state;
    assert_int_equal(requeue_recall(&memory, 42), 0);
    requeue_remember(&memory, 42, 3);
    assert_int_equal(memory.count, 1);
    assert_int_equal(requeue_recall(&memory, 43), 0);
    assert_int_equal(requeue_recall(&memory, 42), 3);
    assert_int_equal(requeue_recall(&memory, 42), 0);
    assert_int_equal(memory.count, 0);
}

static void test_equal_messages_are_counted(void **state)
{
    (void)state;
    unsigned seen = 0;
    for (uint32_t attempt = 1; attempt <= 3; attempt++)
        requeue_remember(&memory, 42, attempt);
    requeue_remember(&memory, 42 + REQUEUE_ENTRIES, 1); /* in the same bucket */
    for (uint32_t left = 3; left > 0; left--) {
        assert_int_equal(requeue_count(&memory, 42), left);
        seen |= 1U << requeue_recall(&memory, 42);
    }
    assert_int_equal(requeue_count(&memory, 42), 0);
    assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3);
    assert_int_equal(requeue_recall(&memory, 42), 0);
}

static void test_one_too_many_pushes_out_the_oldest(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < REQUEUE_ENTRIES; i++)
        requeue_remember(&memory, i * 77, 1);
    assert_int_equal(memory.count, REQUEUE_ENTRIES);
    requeue_remember(&memory, UINT64_MAX, 9);
    assert_int_equal(memory.count, REQUEUE_ENTRIES);
    assert_int_equal(requeue_recall(&memory, 0), 0);
    assert_int_equal(requeue_recall(&memory, UINT64_MAX), 9);
    for (uint64_t i = 1; i < REQUEUE_ENTRIES; i++)
        assert_int_equal(requeue_recall(&memory, i * 77), 1);
    assert_int_equal(memory.count, 0);
}

/* The plain model: what was remembered, oldest first; what is older than the last REQUEUE_ENTRIES is gone. */
struct model {
    struct {
        uint64_t fingerprint;
        uint32_t attempt; /* 0: taken out */
    } entries[REQUEUE_ENTRIES];
    size_t next;
    unsigned count;
};

static void model_remember(struct model *model, uint64_t fingerprint, uint32_t attempt)
{
    size_t at = model->next++ % REQUEUE_ENTRIES;
    model->count += model->entries[at].attempt == 0;
    model->entries[at].fingerprint = fingerprint;
    model->entries[at].attempt = attempt;
}

/* Takes out the newest entry with exactly these; false where there is none. attempt 0: none with the
 * fingerprint. */
static bool model_take(struct model *model, uint64_t fingerprint, uint32_t attempt)
{
    for (size_t back = 1; back <= REQUEUE_ENTRIES; back++) {
        size_t at = (model->next + REQUEUE_ENTRIES - back) % REQUEUE_ENTRIES;
        if (model->entries[at].attempt == 0 || model->entries[at].fingerprint != fingerprint)
            continue;
        if (attempt == 0)
            return false;
        if (model->entries[at].attempt == attempt) {
            model->entries[at].attempt = 0;
            model->count--;
            return true;
        }
    }
    return attempt == 0;
}

static void test_against_a_plain_model(void **state)
{
    (void)state;
    enum { STEPS = 60000 };
    static struct model model;
    struct random random = { 19 };
    for (unsigned step = 0; step < STEPS; step++) {
        bool filling = step % 20000 < 12000;
        /* Few fingerprints, and few buckets for them: many share both. */
        uint64_t spread = random_below(&random, 3) * (uint64_t)REQUEUE_ENTRIES;
        uint64_t hash = spread + random_below(&random, random_below(&random, 2) ? 50 : 5000);
        if (random_below(&random, 4) < (filling ? 3 : 1)) {
            uint32_t attempt = 1 + random_below(&random, 4);
            requeue_remember(&memory, hash, attempt);
            model_remember(&model, hash, attempt);
        } else {
            assert_true(model_take(&model, hash, requeue_recall(&memory, hash)));
        }
        assert_int_equal(memory.count, model.count);
    }
}

#define WITH_MEMORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_makes_a_message_itself),
        cmocka_unit_test(test_what_does_not),
        cmocka_unit_test(test_every_bit_of_a_body_counts),
        cmocka_unit_test(test_alike_messages_are_told_apart),
        cmocka_unit_test(test_broken_attributes),
        WITH_MEMORY(test_one_return_takes_one_entry),
        WITH_MEMORY(test_equal_messages_are_counted),
        WITH_MEMORY(test_one_too_many_pushes_out_the_oldest),
        WITH_MEMORY(test_against_a_plain_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
