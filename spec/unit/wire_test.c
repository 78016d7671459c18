/* Frames between host and worker: what one end encodes is what the other reads, and nothing that is cut, too
 * long or plain garbage is taken for a frame or read past its end. */
#include "common/wire.h"

#include "tools.h"

#include <math.h>

enum { PAYLOAD_MAX = 1000 };

static const struct wire_setup setup = {
    .memory_bytes = UINT64_MAX,
    .deadline_ns = INT64_MIN,
    .grace_ns = -1,
    .message_bytes = UINT64_C(0x0102030405060708),
    .recycle_messages = 1,
    .recycle_memory_bytes = 0,
    .concurrency = UINT32_MAX - 1,
    .http_timeout_ns = INT64_MAX - 2,
    .http_response_bytes = UINT64_MAX - 3,
    .http_per_host = 4,
    .http_failures = UINT32_MAX - 5,
    .http_pause_ns = -6,
    .decode = WIRE_DECODE_RAW,
    .log_level = 255,
    .seccomp = 1,
};
static const struct wire_deliver deliver = {
    .seq = UINT64_MAX - 1,
    .slot = UINT32_MAX,
    .attempt = 7,
    .attributes_bytes = 9,
    .body_bytes = 4,
    .redelivered = 1,
};
static const struct wire_result result = {
    .seq = UINT64_C(0x8000000000000001),
    .slot = 65535,
    .verdict = WIRE_RETRY,
    .elapsed_ns = INT64_MAX,
    .delay_ns = -1,
};
static const struct wire_ready ready = { .heap_bytes = 123456789 };
static const struct wire_log log_line = { .level = 3 };

static void assert_setup(const struct wire_setup *is)
{
    assert_true(is->memory_bytes == setup.memory_bytes && is->deadline_ns == setup.deadline_ns);
    assert_true(is->grace_ns == setup.grace_ns && is->message_bytes == setup.message_bytes);
    assert_true(is->recycle_messages == setup.recycle_messages);
    assert_true(is->recycle_memory_bytes == setup.recycle_memory_bytes);
    assert_true(is->concurrency == setup.concurrency && is->http_timeout_ns == setup.http_timeout_ns);
    assert_true(is->http_response_bytes == setup.http_response_bytes);
    assert_true(is->http_per_host == setup.http_per_host && is->http_failures == setup.http_failures);
    assert_true(is->http_pause_ns == setup.http_pause_ns);
    assert_true(is->decode == setup.decode && is->log_level == setup.log_level &&
                is->seccomp == setup.seccomp);
}

static void assert_deliver(const struct wire_deliver *is, const struct wire_deliver *wanted)
{
    assert_true(is->seq == wanted->seq && is->slot == wanted->slot && is->attempt == wanted->attempt);
    assert_true(is->attributes_bytes == wanted->attributes_bytes && is->body_bytes == wanted->body_bytes);
    assert_int_equal(is->redelivered, wanted->redelivered);
    assert_true(is->laid == wanted->laid && is->laid_at == wanted->laid_at);
}

static void assert_result(const struct wire_result *is)
{
    assert_true(is->seq == result.seq && is->slot == result.slot && is->verdict == result.verdict);
    assert_true(is->elapsed_ns == result.elapsed_ns && is->delay_ns == result.delay_ns);
}

/* One frame of each type, as its sender writes it. */

static void write_setup(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_SETUP);
    wire_add_setup(buffer, &setup);
    wire_add(buffer, WIRE_SCRIPT, slice_of("handler.lua"));
    wire_add(buffer, WIRE_QUEUE, slice_of(""));
    wire_end(buffer, mark);
}

static void write_deliver(struct buffer *buffer)
{
    char envelope[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    wire_stamp_deliver(envelope, &deliver);
    (void)buffer_append(buffer, envelope, sizeof envelope);
    wire_add(buffer, WIRE_MESSAGE_ID, slice_of("id-1"));
    (void)buffer_append_text(buffer, "body");
}

static void write_stop(struct buffer *buffer)
{
    wire_end(buffer, wire_begin(buffer, WIRE_STOP));
}

static void write_ready(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_READY);
    wire_add_ready(buffer, &ready);
    wire_end(buffer, mark);
}

static void write_failed(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_FAILED);
    wire_add(buffer, WIRE_TEXT, slice_of("handler.lua:1: '=' expected"));
    wire_end(buffer, mark);
}

static void write_result(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_RESULT);
    wire_add_result(buffer, &result);
    wire_add(buffer, WIRE_TEXT, BYTES("any\0bytes\xff"));
    wire_end(buffer, mark);
}

static void write_log(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_LOG);
    wire_add_log(buffer, &log_line);
    wire_add(buffer, WIRE_TEXT, slice_of("order accepted"));
    wire_add(buffer, WIRE_KEY, slice_of("total"));
    wire_add(buffer, WIRE_LITERAL, slice_of("12.5"));
    wire_end(buffer, mark);
}

static const struct wire_publish publish = { .seq = 7, .attributes_bytes = 12, .body_bytes = 100 };

static void write_publish(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_PUBLISH);
    wire_add_publish(buffer, &publish);
    wire_add(buffer, WIRE_EXCHANGE, slice_of("billing"));
    (void)buffer_append_text(buffer, "the first piece");
    wire_end(buffer, mark);
}

static const struct wire_recycled recycled = {
    .reason = WIRE_RECYCLE_MEMORY, .messages = 1, .age_ns = 2, .heap_bytes = 3, .peak_bytes = 4, .pause_ns = 5
};
static const struct wire_leak leak = {
    .entries = UINT64_MAX, .entries_per_message = 1.25, .bytes = 1, .bytes_per_message = 1e300, .share = 0
};
static const struct wire_looked looked = {
    .looks = 1, .objects = UINT64_MAX, .spent_ns = INT64_MAX, .alive_ns = 3, .complete = 1
};

static void write_recycled(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_RECYCLED);
    wire_add_recycled(buffer, &recycled);
    wire_end(buffer, mark);
}

static void write_leak(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_LEAK);
    wire_add_leak(buffer, &leak);
    wire_add(buffer, WIRE_TEXT, slice_of("upvalue 'seen' of handler.lua:3"));
    wire_end(buffer, mark);
}

static void write_looked(struct buffer *buffer)
{
    size_t mark = wire_begin(buffer, WIRE_LOOKED);
    wire_add_looked(buffer, &looked);
    wire_end(buffer, mark);
}

static const struct {
    enum wire_type type;
    void (*write)(struct buffer *buffer);
    size_t fixed_bytes;
} frames[] = {
    { WIRE_SETUP, write_setup, WIRE_SETUP_BYTES },
    { WIRE_DELIVER, write_deliver, WIRE_DELIVER_BYTES },
    { WIRE_STOP, write_stop, 0 },
    { WIRE_READY, write_ready, WIRE_READY_BYTES },
    { WIRE_FAILED, write_failed, 0 },
    { WIRE_RESULT, write_result, WIRE_RESULT_BYTES },
    { WIRE_LOG, write_log, WIRE_LOG_BYTES },
    { WIRE_PUBLISH, write_publish, WIRE_PUBLISH_BYTES },
    { WIRE_RECYCLED, write_recycled, WIRE_RECYCLED_BYTES },
    { WIRE_LEAK, write_leak, WIRE_LEAK_BYTES },
    { WIRE_LOOKED, write_looked, WIRE_LOOKED_BYTES },
};

static struct slice frame_of(struct buffer *buffer, size_t i)
{
    buffer_init(buffer, PAYLOAD_MAX);
    frames[i].write(buffer);
    assert_false(buffer->failed);
    return (struct slice){ .data = buffer->data, .size = buffer->size };
}

static bool take_fixed(enum wire_type type, struct slice *payload)
{
    struct wire_setup taken_setup;
    struct wire_deliver taken_deliver;
    struct wire_result taken_result;
    struct wire_ready taken_ready;
    struct wire_log taken_log;
    struct wire_publish taken_publish;
    struct wire_recycled taken_recycled;
    struct wire_leak taken_leak;
    struct wire_looked taken_looked;
    switch (type) {
    case WIRE_SETUP:
        return wire_take_setup(payload, &taken_setup);
    case WIRE_DELIVER:
        return wire_take_deliver(payload, &taken_deliver);
    case WIRE_RESULT:
        return wire_take_result(payload, &taken_result);
    case WIRE_READY:
        return wire_take_ready(payload, &taken_ready);
    case WIRE_LOG:
        return wire_take_log(payload, &taken_log);
    case WIRE_PUBLISH:
        return wire_take_publish(payload, &taken_publish);
    case WIRE_RECYCLED:
        return wire_take_recycled(payload, &taken_recycled);
    case WIRE_LEAK:
        return wire_take_leak(payload, &taken_leak);
    case WIRE_LOOKED:
        return wire_take_looked(payload, &taken_looked);
    case WIRE_STOP:
    case WIRE_FAILED:
    default:
        return true;
    }
}

static void test_every_frame_is_read_as_it_was_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct buffer buffer;
        struct wire_frame frame;
        struct slice bytes = frame_of(&buffer, i);
        assert_int_equal(wire_next(bytes, PAYLOAD_MAX, &frame), WIRE_FRAME);
        assert_int_equal(frame.type, frames[i].type);
        assert_int_equal(frame.payload.size, bytes.size - WIRE_HEADER_BYTES);
        assert_ptr_equal(frame.payload.data, bytes.data + WIRE_HEADER_BYTES);
        struct slice payload = frame.payload;
        assert_true(take_fixed(frames[i].type, &payload));
        assert_int_equal(payload.size, frame.payload.size - frames[i].fixed_bytes);
        buffer_clear(&buffer);
    }
}

static void test_fields_of_every_struct(void **state)
{
    (void)state;
    struct buffer buffer;
    struct wire_setup taken_setup;
    struct wire_result taken_result;
    struct wire_ready taken_ready;
    struct wire_log taken_log;
    buffer_init(&buffer, PAYLOAD_MAX);
    wire_add_setup(&buffer, &setup);
    wire_add_result(&buffer, &result);
    wire_add_ready(&buffer, &ready);
    wire_add_log(&buffer, &log_line);
    struct slice rest = { .data = buffer.data, .size = buffer.size };
    assert_true(wire_take_setup(&rest, &taken_setup));
    assert_setup(&taken_setup);
    assert_true(wire_take_result(&rest, &taken_result));
    assert_result(&taken_result);
    assert_true(wire_take_ready(&rest, &taken_ready));
    assert_int_equal(taken_ready.heap_bytes, ready.heap_bytes);
    assert_true(wire_take_log(&rest, &taken_log));
    assert_int_equal(taken_log.level, log_line.level);
    assert_int_equal(rest.size, 0);
    buffer_clear(&buffer);
}

/* The host counts by verdict. */
static void test_verdicts_that_there_are(void **state)
{
    (void)state;
    for (unsigned verdict = 0; verdict < 256; verdict++) {
        struct wire_result told = result, taken;
        struct buffer buffer;
        buffer_init(&buffer, PAYLOAD_MAX);
        told.verdict = (uint8_t)verdict;
        wire_add_result(&buffer, &told);
        struct slice rest = { .data = buffer.data, .size = buffer.size };
        assert_int_equal(wire_take_result(&rest, &taken), verdict >= WIRE_ACK && verdict <= WIRE_RETURNED);
        buffer_clear(&buffer);
    }
}

static void test_stamped_delivery(void **state)
{
    (void)state;
    struct buffer buffer;
    struct wire_frame frame;
    struct wire_deliver taken;
    struct slice value;
    buffer_init(&buffer, PAYLOAD_MAX);
    write_deliver(&buffer);
    struct slice bytes = { .data = buffer.data, .size = buffer.size };
    assert_int_equal(wire_next(bytes, PAYLOAD_MAX, &frame), WIRE_FRAME);
    struct slice payload = frame.payload;
    assert_true(wire_take_deliver(&payload, &taken));
    assert_deliver(&taken, &deliver);
    struct slice attributes = { .data = payload.data, .size = taken.attributes_bytes };
    assert_true(wire_find(attributes, WIRE_MESSAGE_ID, &value));
    assert_slice(value, "id-1");
    assert_slice(((struct slice){ payload.data + taken.attributes_bytes, taken.body_bytes }), "body");
    buffer_clear(&buffer);
}

/* A body that is laid is no part of the frame. */
static void test_laid_delivery(void **state)
{
    (void)state;
    struct wire_deliver given = deliver, taken;
    struct wire_frame frame;
    struct buffer buffer;
    char envelope[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    given.laid = 1;
    given.laid_at = UINT32_MAX - 1;
    given.body_bytes = UINT32_MAX;
    wire_stamp_deliver(envelope, &given);
    buffer_init(&buffer, PAYLOAD_MAX);
    (void)buffer_append(&buffer, envelope, sizeof envelope);
    wire_add(&buffer, WIRE_MESSAGE_ID, slice_of("id-1"));
    struct slice bytes = { .data = buffer.data, .size = buffer.size };
    assert_int_equal(wire_next(bytes, PAYLOAD_MAX, &frame), WIRE_FRAME);
    assert_int_equal(frame.payload.size, WIRE_DELIVER_BYTES + given.attributes_bytes);
    struct slice payload = frame.payload;
    assert_true(wire_take_deliver(&payload, &taken));
    assert_deliver(&taken, &given);
    assert_int_equal(payload.size, given.attributes_bytes);
    payload = (struct slice){ frame.payload.data, frame.payload.size - 1 };
    assert_false(wire_take_deliver(&payload, &taken));
    buffer_clear(&buffer);
}

/* Where a frame is cut, there is more to come; not a byte past the cut is looked at. */
static void test_cut_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct buffer buffer;
        struct slice whole = frame_of(&buffer, i);
        for (size_t size = 0; size < whole.size; size++) {
            struct wire_frame frame = { .type = 99 };
            char *cut = exact_copy(whole.data, size);
            assert_int_equal(wire_next((struct slice){ cut, size }, PAYLOAD_MAX, &frame), WIRE_MORE);
            assert_int_equal(frame.type, 99);
            free(cut);
        }
        buffer_clear(&buffer);
    }
}

/* A payload that is shorter than its struct is refused and left as it was. */
static void test_cut_structs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct buffer buffer;
        struct slice whole = frame_of(&buffer, i);
        for (size_t size = 0; size < frames[i].fixed_bytes; size++) {
            char *cut = exact_copy(whole.data + WIRE_HEADER_BYTES, size);
            struct slice payload = { cut, size };
            assert_false(take_fixed(frames[i].type, &payload));
            assert_ptr_equal(payload.data, cut);
            assert_int_equal(payload.size, size);
            free(cut);
        }
        buffer_clear(&buffer);
    }
}

/* Attributes and body must fill a delivery exactly; what is refused changes nothing. */
static void test_deliveries_whose_sizes_lie(void **state)
{
    (void)state;
    static const struct {
        uint32_t attributes_bytes;
        uint32_t body_bytes;
        bool fits;
    } cases[] = {
        { 9, 4, true },
        { 13, 0, true },
        { 0, 13, true },
        { 9, 5, false },
        { 9, 3, false },
        { 0, 0, false },
        { UINT32_MAX, 14, false },
        { 14, UINT32_MAX, false },
        { UINT32_MAX, 0, false },
        { 0, UINT32_MAX, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wire_deliver given = deliver;
        struct wire_deliver taken = { .seq = 42 };
        char envelope[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
        char bytes[WIRE_DELIVER_BYTES + 13] = { 0 };
        given.attributes_bytes = cases[i].attributes_bytes;
        given.body_bytes = cases[i].body_bytes;
        wire_stamp_deliver(envelope, &given);
        memcpy(bytes, envelope + WIRE_HEADER_BYTES, WIRE_DELIVER_BYTES);
        struct slice payload = { bytes, sizeof bytes };
        assert_int_equal(wire_take_deliver(&payload, &taken), cases[i].fits);
        assert_int_equal(payload.size, cases[i].fits ? 13 : sizeof bytes);
        assert_true(taken.seq == (cases[i].fits ? deliver.seq : 42));
    }
}

/* The attributes must be there, and no more than the body behind them; what is refused changes nothing. */
/* Of the frames that are read by both ends field by field. */
static void test_leaks_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct buffer buffer;
    struct wire_leak taken_leak;
    struct wire_looked taken_looked;
    buffer_init(&buffer, PAYLOAD_MAX);
    wire_add_leak(&buffer, &leak);
    wire_add_looked(&buffer, &looked);
    struct slice payload = { .data = buffer.data, .size = buffer.size };
    assert_true(wire_take_leak(&payload, &taken_leak));
    assert_true(taken_leak.entries == leak.entries && taken_leak.bytes == leak.bytes);
    assert_true(taken_leak.entries_per_message >= 1.25 && taken_leak.entries_per_message <= 1.25);
    assert_true(taken_leak.bytes_per_message >= 1e300 && taken_leak.share <= 0);
    assert_true(wire_take_looked(&payload, &taken_looked));
    assert_true(taken_looked.looks == looked.looks && taken_looked.objects == looked.objects &&
                taken_looked.spent_ns == looked.spent_ns && taken_looked.alive_ns == looked.alive_ns &&
                taken_looked.complete == looked.complete);
    assert_int_equal(payload.size, 0);
    buffer_clear(&buffer);
}

static void test_leaks_whose_figures_are_none(void **state)
{
    const double strange[] = { NAN, INFINITY, -INFINITY, -1 };
    (void)state;
    for (size_t i = 0; i < 3 * COUNT_OF(strange); i++) {
        struct buffer buffer;
        struct wire_leak given = leak, taken = { .entries = 42 };
        double *const figures[] = { &given.entries_per_message, &given.bytes_per_message, &given.share };
        *figures[i % 3] = strange[i / 3];
        buffer_init(&buffer, PAYLOAD_MAX);
        wire_add_leak(&buffer, &given);
        struct slice payload = { .data = buffer.data, .size = buffer.size };
        assert_false(wire_take_leak(&payload, &taken));
        assert_int_equal(taken.entries, 42);
        assert_int_equal(payload.size, WIRE_LEAK_BYTES);
        buffer_clear(&buffer);
    }
}

static void test_publishes_whose_sizes_lie(void **state)
{
    (void)state;
    static const struct {
        uint32_t attributes_bytes;
        uint32_t body_bytes;
        bool fits;
    } cases[] = {
        { 9, 4, true },           { 9, 5, true },           { 9, UINT32_MAX, true }, { 13, 0, true },
        { 0, 13, true },          { 9, 3, false },          { 14, 0, false },        { 0, 0, false },
        { UINT32_MAX, 4, false }, { UINT32_MAX, 0, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wire_publish given = { .seq = 7,
                                      .attributes_bytes = cases[i].attributes_bytes,
                                      .body_bytes = cases[i].body_bytes };
        struct wire_publish taken = { .seq = 42 };
        struct buffer buffer;
        buffer_init(&buffer, 100);
        wire_add_publish(&buffer, &given);
        (void)buffer_append(&buffer, "attribute+body", 13);
        struct slice payload = { buffer.data, buffer.size };
        assert_int_equal(wire_take_publish(&payload, &taken), cases[i].fits);
        assert_int_equal(payload.size, cases[i].fits ? 13 : WIRE_PUBLISH_BYTES + 13);
        assert_true(taken.seq == (cases[i].fits ? 7 : 42));
        buffer_clear(&buffer);
    }
}

static void test_headers_that_begin_no_frame(void **state)
{
    (void)state;
    static const struct {
        uint32_t size;
        const char *tail;
        enum wire_next next;
    } cases[] = {
        { 0, "\x03\0\0\0", WIRE_FRAME },
        { 0, "\0\0\0\0", WIRE_FRAME }, /* an unknown type is a frame: its reader refuses it */
        { 0, "\xff\0\0\0", WIRE_FRAME },
        { 0, "\x03\x01\0\0", WIRE_BROKEN },
        { 0, "\x03\0\x01\0", WIRE_BROKEN },
        { 0, "\x03\0\0\x80", WIRE_BROKEN },
        { PAYLOAD_MAX, "\x03\0\0\0", WIRE_MORE },
        { PAYLOAD_MAX + 1, "\x03\0\0\0", WIRE_BROKEN },
        { UINT32_MAX, "\x03\0\0\0", WIRE_BROKEN },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct wire_frame frame;
        char bytes[WIRE_HEADER_BYTES];
        memcpy(bytes, &cases[i].size, sizeof cases[i].size);
        memcpy(bytes + 4, cases[i].tail, 4);
        char *exact = exact_copy(bytes, sizeof bytes);
        assert_int_equal(wire_next((struct slice){ exact, sizeof bytes }, PAYLOAD_MAX, &frame),
                         cases[i].next);
        free(exact);
    }
}

static void test_frames_one_after_another(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100000);
    for (size_t i = 0; i < COUNT_OF(frames); i++)
        frames[i].write(&buffer);
    struct slice rest = { .data = buffer.data, .size = buffer.size };
    struct wire_frame frame;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        assert_int_equal(wire_next(rest, PAYLOAD_MAX, &frame), WIRE_FRAME);
        assert_int_equal(frame.type, frames[i].type);
        rest.data += WIRE_HEADER_BYTES + frame.payload.size;
        rest.size -= WIRE_HEADER_BYTES + frame.payload.size;
    }
    assert_int_equal(rest.size, 0);
    assert_int_equal(wire_next(rest, PAYLOAD_MAX, &frame), WIRE_MORE);
    buffer_clear(&buffer);
}

static void test_attributes(void **state)
{
    (void)state;
    struct buffer buffer;
    struct wire_attribute attribute;
    struct slice value = { 0 };
    buffer_init(&buffer, PAYLOAD_MAX);
    wire_add(&buffer, WIRE_KEY, slice_of("first"));
    wire_add(&buffer, WIRE_KEY, slice_of("second"));
    wire_add(&buffer, WIRE_DELIVERY_MODE, BYTES("\0"));
    wire_add(&buffer, WIRE_TEXT, (struct slice){ .data = NULL, .size = 0 });
    struct slice rest = { .data = buffer.data, .size = buffer.size };
    assert_true(wire_find(rest, WIRE_KEY, &value));
    assert_slice(value, "first");
    assert_true(wire_find(rest, WIRE_TEXT, &value));
    assert_slice(value, "");
    value = slice_of("as it was");
    assert_false(wire_find(rest, WIRE_EXCHANGE, &value));
    assert_slice(value, "as it was");
    assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_FRAME);
    assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_FRAME);
    assert_int_equal(attribute.id, WIRE_KEY);
    assert_slice(attribute.value, "second");
    assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_FRAME);
    assert_slice(attribute.value, "\0");
    assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_FRAME);
    assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_MORE);
    buffer_clear(&buffer);
}

/* A cut attribute is broken, leaves everything as it was, and nothing is found behind it. */
static void test_cut_attributes(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, PAYLOAD_MAX);
    wire_add(&buffer, WIRE_QUEUE, slice_of("orders"));
    for (size_t size = 1; size < buffer.size; size++) {
        struct wire_attribute attribute = { .id = 99 };
        struct slice value;
        char *cut = exact_copy(buffer.data, size);
        struct slice rest = { cut, size };
        assert_int_equal(wire_take_attribute(&rest, &attribute), WIRE_BROKEN);
        assert_int_equal(attribute.id, 99);
        assert_int_equal(rest.size, size);
        assert_false(wire_find(rest, WIRE_QUEUE, &value));
        free(cut);
    }
    buffer_clear(&buffer);
}

/* The bound may strike anywhere in a frame: the buffer tells, and is never overrun. */
static void test_frames_that_do_not_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct buffer whole;
        size_t needed = frame_of(&whole, i).size;
        buffer_clear(&whole);
        for (size_t limit = 0; limit < needed; limit++) {
            struct buffer buffer;
            buffer_init(&buffer, limit);
            frames[i].write(&buffer);
            assert_true(buffer.failed);
            assert_true(buffer.size <= limit);
            buffer_clear(&buffer);
        }
    }
}

static void test_attribute_is_added_whole_or_not(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    wire_add(&buffer, WIRE_TEXT, slice_of("sixsix"));
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 0);
    wire_add(&buffer, WIRE_TEXT, (struct slice){ .data = "", .size = (size_t)UINT32_MAX + 1 });
    assert_int_equal(buffer.size, 0);
    buffer_reset(&buffer);
    wire_add(&buffer, WIRE_TEXT, slice_of("fives"));
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, 10);
    buffer_clear(&buffer);
}

/* Whatever the bytes are, what is handed out lies within them. */
static void test_garbage(void **state)
{
    (void)state;
    struct random random = { 7 };
    for (unsigned round = 0; round < 50000; round++) {
        char bytes[96];
        size_t size = random_below(&random, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] =
                random_one_in(&random, 3) ? (char)random_next(&random) : (char)random_below(&random, 9);
        char *exact = exact_copy(bytes, size);
        struct wire_frame frame;
        struct wire_attribute attribute;
        struct slice rest = { exact, size };
        if (wire_next(rest, PAYLOAD_MAX, &frame) == WIRE_FRAME) {
            assert_true(frame.payload.size <= size - WIRE_HEADER_BYTES);
            (void)take_fixed(frame.type, &frame.payload);
        }
        while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME)
            assert_true(attribute.value.data + attribute.value.size <= exact + size);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_frame_is_read_as_it_was_written),
        cmocka_unit_test(test_fields_of_every_struct),
        cmocka_unit_test(test_stamped_delivery),
        cmocka_unit_test(test_laid_delivery),
        cmocka_unit_test(test_cut_frames),
        cmocka_unit_test(test_cut_structs),
        cmocka_unit_test(test_deliveries_whose_sizes_lie),
        cmocka_unit_test(test_leaks_are_read_as_they_were_written),
        cmocka_unit_test(test_leaks_whose_figures_are_none),
        cmocka_unit_test(test_publishes_whose_sizes_lie),
        cmocka_unit_test(test_headers_that_begin_no_frame),
        cmocka_unit_test(test_frames_one_after_another),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_cut_attributes),
        cmocka_unit_test(test_frames_that_do_not_fit),
        cmocka_unit_test(test_attribute_is_added_whole_or_not),
        cmocka_unit_test(test_verdicts_that_there_are),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
