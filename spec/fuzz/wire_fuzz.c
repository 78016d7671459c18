/* Frames, as either end reads them: nothing is read past the end, what is taken lies within the frame, and
 * what was taken is written as it came. */
#include "common/wire.h"

#include "worker/message.h"

#include "fuzz.h"

static void must_lie_within(struct slice part, struct slice whole)
{
    MUST(part.size <= whole.size);
    MUST(part.size == 0 || (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

static void read_attributes(struct slice payload, struct slice frame)
{
    struct wire_attribute attribute;
    struct slice rest = payload;
    struct slice found;
    enum wire_next next;
    while ((next = wire_take_attribute(&rest, &attribute)) == WIRE_FRAME) {
        must_lie_within(attribute.value, frame);
        MUST(wire_find(payload, attribute.id, &found));
        must_lie_within(found, frame);
    }
    MUST(next == WIRE_MORE || next == WIRE_BROKEN);
}

/* What the worker reads. */
static void read_delivery(struct slice payload)
{
    static char shelf_bytes[SHELF_BYTES];
    const struct shelf shelf = { .data = shelf_bytes, .bytes = sizeof shelf_bytes };
    struct message message = { 0 };
    struct slice value;
    char stamp[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    if (!message_parse(payload, &shelf, &message))
        return;
    must_lie_within(message.body, message.deliver.laid ? (struct slice){ shelf.data, shelf.bytes } : payload);
    MUST(message.body.size == message.deliver.body_bytes);
    for (int id = 0; id < MESSAGE_ATTRIBUTES; id++)
        if (message_find(&message, (enum wire_attribute_id)id, &value))
            must_lie_within(value, payload);
    (void)message_is_json(&message);
    wire_stamp_deliver(stamp, &message.deliver);
    struct slice again = { stamp + WIRE_HEADER_BYTES, WIRE_DELIVER_BYTES };
    struct wire_deliver deliver;
    uint64_t following = message.deliver.laid ? 0 : message.deliver.body_bytes;
    MUST(WIRE_DELIVER_BYTES + message.deliver.attributes_bytes + following == payload.size);
    /* Alone it promises more than there is, unless it promises nothing. */
    MUST(wire_take_deliver(&again, &deliver) == (payload.size == WIRE_DELIVER_BYTES));
}

static void read_setup(struct slice payload)
{
    struct wire_setup setup;
    struct slice rest = payload;
    struct buffer written;
    if (!wire_take_setup(&rest, &setup))
        return;
    read_attributes(rest, payload);
    buffer_init(&written, WIRE_REPORT_MAX);
    wire_add_setup(&written, &setup);
    MUST(written.size == WIRE_SETUP_BYTES && memcmp(written.data, payload.data, WIRE_SETUP_BYTES) == 0);
    buffer_clear(&written);
}

/* What the host reads. */
static void read_report(const struct wire_frame *frame)
{
    struct slice rest = frame->payload;
    struct wire_result result;
    struct wire_ready ready;
    struct wire_recycled recycled;
    struct wire_log line;
    struct wire_leak leak;
    struct wire_looked looked;
    struct wire_publish publish;
    bool taken = true;
    switch (frame->type) {
    case WIRE_READY:
        taken = wire_take_ready(&rest, &ready);
        break;
    case WIRE_RESULT:
        taken = wire_take_result(&rest, &result);
        MUST(!taken || (result.verdict >= WIRE_ACK && result.verdict < WIRE_VERDICTS));
        break;
    case WIRE_LOG:
        taken = wire_take_log(&rest, &line);
        break;
    case WIRE_RECYCLED:
        taken = wire_take_recycled(&rest, &recycled);
        MUST(!taken || (recycled.reason > WIRE_RECYCLE_NONE && recycled.reason < WIRE_RECYCLE_REASONS));
        break;
    case WIRE_LEAK:
        taken = wire_take_leak(&rest, &leak);
        MUST(!taken || (leak.entries_per_message >= 0 && leak.bytes_per_message >= 0 && leak.share >= 0));
        break;
    case WIRE_LOOKED:
        taken = wire_take_looked(&rest, &looked);
        break;
    case WIRE_PUBLISH:
        if (wire_take_publish(&rest, &publish)) {
            MUST(publish.attributes_bytes <= rest.size);
            MUST(rest.size - publish.attributes_bytes <= publish.body_bytes);
            rest.size = publish.attributes_bytes;
        }
        break;
    default:
        break;
    }
    must_lie_within(rest, frame->payload);
    if (taken)
        read_attributes(rest, frame->payload);
}

static void read_frames(struct slice bytes, size_t payload_max)
{
    struct wire_frame frame;
    while (wire_next(bytes, payload_max, &frame) == WIRE_FRAME) {
        MUST(frame.payload.size <= payload_max);
        must_lie_within(frame.payload, bytes);
        if (frame.type == WIRE_DELIVER)
            read_delivery(frame.payload);
        else if (frame.type == WIRE_SETUP)
            read_setup(frame.payload);
        else
            read_report(&frame);
        bytes.data += WIRE_HEADER_BYTES + frame.payload.size;
        bytes.size -= WIRE_HEADER_BYTES + frame.payload.size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = fuzz_input(data, size);
    read_frames(bytes, WIRE_REPORT_MAX);
    read_frames(bytes, 64);
    read_delivery(bytes);
    read_setup(bytes);
    read_attributes(bytes, bytes);
    return 0;
}
