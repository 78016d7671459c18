/* Deliveries put together from frames: in order they become whole, in any other order the broker is told off,
 * and what a header declares is never believed before it is checked. */
#include "common/wire.h"
#include "host/assembly.h"

#include "tools.h"

enum { PREFETCH = 3, BODY_LIMIT = 1000 };

/* Asked of a sanitized program by its runtime: memory that cannot be had is refused, as in any other. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static struct ledger ledger;
static struct assembly assembly;
static struct delivery *whole; /* what became whole last */
static struct error error;

static int set_up(void **state)
{
    (void)state;
    assembly_init(&assembly);
    return ledger_init(&ledger, PREFETCH, &error) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    assembly_clear(&assembly);
    ledger_clear(&ledger);
    return 0;
}

static enum assembly_next take_limited(const struct event *event, uint64_t limit)
{
    error.text[0] = '\0';
    whole = NULL;
    enum assembly_next next = assembly_take(&assembly, &ledger, event, "orders", limit, &whole, &error);
    assert_int_equal(next == ASSEMBLY_WHOLE, whole != NULL);
    assert_int_equal(next == ASSEMBLY_BROKEN, error.text[0] != '\0');
    return next;
}

static enum assembly_next take_method(uint64_t tag)
{
    const struct event event = {
        .kind = EVENT_DELIVER,
        .tag = tag,
        .redelivered = tag % 2 == 0,
        .text = slice_of("host-1-orders"),
        .exchange = slice_of(""),
        .routing_key = slice_of("order.new"),
    };
    return take_limited(&event, BODY_LIMIT);
}

/* One attribute, "id-1", as connection.h hands them over. */
static enum assembly_next take_header(uint64_t body_bytes, uint64_t limit)
{
    struct buffer attributes;
    buffer_init(&attributes, 100);
    wire_add(&attributes, WIRE_MESSAGE_ID, slice_of("id-1"));
    char *exact = exact_copy(attributes.data, attributes.size);
    const struct event event = { .kind = EVENT_HEADER,
                                 .body_bytes = body_bytes,
                                 .attributes = { exact, attributes.size } };
    enum assembly_next next = take_limited(&event, limit);
    buffer_clear(&attributes);
    free(exact);
    return next;
}

static enum assembly_next take_body(const char *bytes, size_t size)
{
    char *exact = exact_copy(bytes, size);
    const struct event event = { .kind = EVENT_BODY, .text = { exact, size } };
    enum assembly_next next = take_limited(&event, BODY_LIMIT);
    free(exact);
    return next;
}

static void assert_attribute(enum wire_attribute_id id, const char *wanted)
{
    struct slice value;
    assert_true(wire_find(delivery_attributes(whole), id, &value));
    assert_bytes(value, slice_of(wanted));
}

static void assert_whole(uint64_t tag, struct slice body)
{
    assert_int_equal(whole->state, DELIVERY_HELD);
    assert_int_equal(whole->tag, tag);
    assert_int_equal(whole->redelivered, tag % 2 == 0);
    assert_false(whole->oversized);
    assert_bytes(delivery_body(whole), body);
    assert_attribute(WIRE_CONSUMER_TAG, "host-1-orders");
    assert_attribute(WIRE_EXCHANGE, "");
    assert_attribute(WIRE_ROUTING_KEY, "order.new");
    assert_attribute(WIRE_MESSAGE_ID, "id-1");
    assert_null(assembly.delivery);
}

static void test_one_piece(void **state)
{
    (void)state;
    assert_int_equal(take_method(1), ASSEMBLY_MORE);
    assert_int_equal(take_header(4, BODY_LIMIT), ASSEMBLY_MORE);
    assert_int_equal(ledger.held.count, 0);
    assert_int_equal(take_body("hare", 4), ASSEMBLY_WHOLE);
    assert_whole(1, BYTES("hare"));
}

static void test_empty_body(void **state)
{
    (void)state;
    assert_int_equal(take_method(2), ASSEMBLY_MORE);
    assert_int_equal(take_header(0, BODY_LIMIT), ASSEMBLY_WHOLE);
    assert_whole(2, BYTES(""));
}

/* Split at every place, with an empty piece between. */
static void test_pieces(void **state)
{
    (void)state;
    for (size_t split = 0; split <= 8; split++) {
        uint64_t tag = split + 1;
        assert_int_equal(take_method(tag), ASSEMBLY_MORE);
        assert_int_equal(take_header(8, BODY_LIMIT), ASSEMBLY_MORE);
        if (split > 0 && split < 8)
            assert_int_equal(take_body("harebell", split), ASSEMBLY_MORE);
        assert_int_equal(take_body("", 0), ASSEMBLY_MORE);
        size_t rest = split < 8 ? 8 - split : 8;
        assert_int_equal(take_body(&"harebell"[8 - rest], rest), ASSEMBLY_WHOLE);
        assert_whole(tag, BYTES("harebell"));
        ledger_drop(&ledger);
    }
}

static void test_byte_by_byte_at_the_limit(void **state)
{
    (void)state;
    char body[BODY_LIMIT];
    assert_int_equal(take_method(1), ASSEMBLY_MORE);
    assert_int_equal(take_header(BODY_LIMIT, BODY_LIMIT), ASSEMBLY_MORE);
    for (size_t i = 0; i < BODY_LIMIT; i++) {
        body[i] = (char)i;
        assert_int_equal(take_body(&body[i], 1), i + 1 < BODY_LIMIT ? ASSEMBLY_MORE : ASSEMBLY_WHOLE);
    }
    assert_whole(1, (struct slice){ body, sizeof body });
}

/* What the worker reads is the frame as it stands in the ledger, once it is stamped. */
static void test_frame_for_the_worker(void **state)
{
    (void)state;
    struct wire_frame frame;
    struct wire_deliver deliver;
    (void)take_method(1);
    (void)take_header(4, BODY_LIMIT);
    assert_int_equal(take_body("hare", 4), ASSEMBLY_WHOLE);
    const struct wire_deliver stamp = { .seq = 7,
                                        .attributes_bytes = whole->attributes_bytes,
                                        .body_bytes = 4 };
    wire_stamp_deliver(whole->frame, &stamp);
    struct slice bytes = { whole->frame, whole->frame_bytes };
    assert_int_equal(wire_next(bytes, 10000, &frame), WIRE_FRAME);
    assert_int_equal(frame.payload.size + WIRE_HEADER_BYTES, whole->frame_bytes);
    assert_true(wire_take_deliver(&frame.payload, &deliver));
    assert_int_equal(deliver.seq, 7);
    assert_whole(1, BYTES("hare"));
}

static const uint64_t oversizes[] = { BODY_LIMIT + 1, UINT32_MAX, UINT64_C(1) << 40, UINT64_MAX };

/* A body over the limit is known by its header, and takes no memory, whatever it declares. */
static void test_oversized_bodies_are_not_allocated(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(oversizes); i++) {
        assert_int_equal(take_method(1), ASSEMBLY_MORE);
        assert_int_equal(take_header(oversizes[i], BODY_LIMIT), ASSEMBLY_MORE);
        assert_true(assembly.delivery->oversized);
        assert_int_equal(assembly.delivery->body_bytes, oversizes[i]);
        assert_true(assembly.delivery->frame_capacity <= LEDGER_KEEP_BYTES);
        assert_int_equal(take_body("hare", 4), ASSEMBLY_MORE);
        assert_true(assembly.delivery->frame_capacity <= LEDGER_KEEP_BYTES);
        assembly_reset(&assembly);
        ledger_drop(&ledger);
    }
}

static void test_oversized_bodies_are_drained(void **state)
{
    (void)state;
    static char piece[10000];
    const uint64_t total = 100 * sizeof piece + 1;
    assert_int_equal(take_method(1), ASSEMBLY_MORE);
    assert_int_equal(take_header(total, BODY_LIMIT), ASSEMBLY_MORE);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(take_body(piece, sizeof piece), ASSEMBLY_MORE);
    assert_int_equal(take_body(piece, 1), ASSEMBLY_WHOLE);
    assert_true(whole->oversized);
    assert_int_equal(whole->body_bytes, total);
    assert_bytes(delivery_body(whole), BYTES(""));
    assert_attribute(WIRE_MESSAGE_ID, "id-1");
    assert_int_equal(take_method(2), ASSEMBLY_MORE);
    assert_int_equal(take_header(0, BODY_LIMIT), ASSEMBLY_WHOLE);
    assert_whole(2, BYTES(""));
}

static void test_memory_that_cannot_be_had(void **state)
{
    (void)state;
    assert_int_equal(take_method(1), ASSEMBLY_MORE);
    assert_int_equal(take_header(UINT64_C(1) << 62, UINT64_MAX), ASSEMBLY_BROKEN);
    assert_contains(error.text, "prefetch");
    assert_int_equal(take_body("hare", 4), ASSEMBLY_BROKEN);
    assembly_reset(&assembly);
    ledger_drop(&ledger);
    assert_int_equal(take_method(1), ASSEMBLY_MORE);
}

static void test_bodies_that_are_too_long(void **state)
{
    (void)state;
    static const uint64_t declared[] = { 1, 3, BODY_LIMIT, BODY_LIMIT + 1 };
    static char piece[BODY_LIMIT + 2];
    for (size_t i = 0; i < COUNT_OF(declared); i++) {
        assert_int_equal(take_method(1), ASSEMBLY_MORE);
        assert_int_equal(take_header(declared[i], BODY_LIMIT), ASSEMBLY_MORE);
        assert_int_equal(take_body(piece, (size_t)declared[i] - 1), ASSEMBLY_MORE);
        assert_int_equal(take_body(piece, 2), ASSEMBLY_BROKEN);
        assert_contains(error.text, "longer than its header said");
        assembly_reset(&assembly);
        ledger_drop(&ledger);
    }
}

static void test_more_than_the_prefetch(void **state)
{
    (void)state;
    for (uint64_t tag = 1; tag <= PREFETCH; tag++) {
        assert_int_equal(take_method(tag), ASSEMBLY_MORE);
        assert_int_equal(take_header(0, BODY_LIMIT), ASSEMBLY_WHOLE);
    }
    assert_int_equal(take_method(PREFETCH + 1), ASSEMBLY_BROKEN);
    assert_contains(error.text, "prefetch");
    assert_int_equal(ledger.held.count, PREFETCH);
}

static void test_tags_that_do_not_rise(void **state)
{
    (void)state;
    static const uint64_t tags[] = { 0, 1, 4, 5 };
    assert_int_equal(take_method(5), ASSEMBLY_MORE);
    assert_int_equal(take_header(0, BODY_LIMIT), ASSEMBLY_WHOLE);
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        assert_int_equal(take_method(tags[i]), ASSEMBLY_BROKEN);
        assert_contains(error.text, "does not rise");
    }
    assert_int_equal(ledger_in_use(&ledger), 1);
}

static void test_names_that_are_too_long(void **state)
{
    (void)state;
    static char name[2000];
    const struct event event = { .kind = EVENT_DELIVER, .tag = 1, .exchange = { name, sizeof name } };
    assert_int_equal(take_limited(&event, BODY_LIMIT), ASSEMBLY_BROKEN);
    static char longest[255];
    const struct event fits = { .kind = EVENT_DELIVER,
                                .tag = 2,
                                .text = { longest, sizeof longest },
                                .exchange = { longest, sizeof longest },
                                .routing_key = { longest, sizeof longest } };
    assembly_reset(&assembly);
    ledger_drop(&ledger);
    assert_int_equal(take_limited(&fits, BODY_LIMIT), ASSEMBLY_MORE);
}

static void test_other_events_are_not_its_own(void **state)
{
    (void)state;
    (void)take_method(1);
    for (int kind = EVENT_CHANNEL_OPENED; kind <= EVENT_OTHER; kind++) {
        const struct event event = { .kind = (enum event_kind)kind };
        if (kind != EVENT_DELIVER && kind != EVENT_HEADER && kind != EVENT_BODY)
            assert_int_equal(take_limited(&event, BODY_LIMIT), ASSEMBLY_MORE);
    }
    assert_int_equal(take_header(0, BODY_LIMIT), ASSEMBLY_WHOLE);
    assert_whole(1, BYTES(""));
}

/* A channel that goes in the middle of a delivery leaves nothing of it to the next. */
static void test_reset(void **state)
{
    (void)state;
    for (unsigned frames = 0; frames <= 3; frames++) {
        if (frames > 0)
            (void)take_method(1);
        if (frames > 1)
            (void)take_header(8, BODY_LIMIT);
        if (frames > 2)
            (void)take_body("hare", 4);
        assembly_reset(&assembly);
        ledger_drop(&ledger);
        assert_int_equal(take_body("bell", 4), ASSEMBLY_BROKEN);
        assert_int_equal(take_header(4, BODY_LIMIT), ASSEMBLY_BROKEN);
        assert_int_equal(take_method(1), ASSEMBLY_MORE);
        assert_int_equal(take_header(4, BODY_LIMIT), ASSEMBLY_MORE);
        assert_int_equal(take_body("bell", 4), ASSEMBLY_WHOLE);
        assert_whole(1, BYTES("bell"));
        ledger_drop(&ledger);
    }
}

/* Every sequence of frames up to SEQUENCE long: accepted exactly where the protocol allows it. Frames are a
 * method (m), a header of an empty body (e) or of two bytes (h), a piece of one byte (b) or of none (z). */

enum { SEQUENCE = 6, FRAMES = 5, SEQUENCES = 15625 };

struct grammar {
    bool in_delivery;
    bool has_header;
    unsigned missing;
    unsigned whole;
};

/* What must come of the frame, by the grammar alone. */
static enum assembly_next judge(struct grammar *grammar, char frame)
{
    switch (frame) {
    case 'm':
        if (grammar->in_delivery || grammar->whole == PREFETCH)
            return ASSEMBLY_BROKEN;
        grammar->in_delivery = true;
        grammar->has_header = false;
        return ASSEMBLY_MORE;
    case 'b':
    case 'z':
        if (!grammar->has_header)
            return ASSEMBLY_BROKEN;
        grammar->missing -= frame == 'b';
        break;
    default:
        if (!grammar->in_delivery || grammar->has_header)
            return ASSEMBLY_BROKEN;
        grammar->has_header = true;
        grammar->missing = frame == 'h' ? 2 : 0;
        break;
    }
    if (grammar->missing > 0)
        return ASSEMBLY_MORE;
    grammar->in_delivery = grammar->has_header = false;
    grammar->whole++;
    return ASSEMBLY_WHOLE;
}

static void try_sequence(unsigned number)
{
    struct grammar grammar = { 0 };
    uint64_t tag = 0;
    for (unsigned i = 0; i < SEQUENCE; i++, number /= FRAMES) {
        char frame = "mehbz"[number % FRAMES];
        bool is_body = frame == 'b' || frame == 'z';
        enum assembly_next wanted = judge(&grammar, frame);
        enum assembly_next next = frame == 'm' ? take_method(++tag)
                                  : is_body    ? take_body("x", frame == 'b')
                                               : take_header(frame == 'h' ? 2 : 0, BODY_LIMIT);
        assert_int_equal(next, wanted);
        if (next == ASSEMBLY_BROKEN)
            break;
    }
    assert_int_equal(ledger.held.count, grammar.whole);
    assembly_reset(&assembly);
    ledger_drop(&ledger);
}

static void test_frames_in_every_order(void **state)
{
    (void)state;
    for (unsigned number = 0; number < SEQUENCES; number++)
        try_sequence(number);
}

#define WITH_LEDGER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LEDGER(test_one_piece),
        WITH_LEDGER(test_empty_body),
        WITH_LEDGER(test_pieces),
        WITH_LEDGER(test_byte_by_byte_at_the_limit),
        WITH_LEDGER(test_frame_for_the_worker),
        WITH_LEDGER(test_oversized_bodies_are_not_allocated),
        WITH_LEDGER(test_oversized_bodies_are_drained),
        WITH_LEDGER(test_memory_that_cannot_be_had),
        WITH_LEDGER(test_bodies_that_are_too_long),
        WITH_LEDGER(test_more_than_the_prefetch),
        WITH_LEDGER(test_tags_that_do_not_rise),
        WITH_LEDGER(test_names_that_are_too_long),
        WITH_LEDGER(test_other_events_are_not_its_own),
        WITH_LEDGER(test_reset),
        WITH_LEDGER(test_frames_in_every_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
