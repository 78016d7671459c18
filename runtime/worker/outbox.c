/* Collecting what is published; see outbox.h. */
#include "worker/outbox.h"

#include <string.h>

enum { KEEP_BYTES = 4096 }; /* of memory, from one message to the next */

/* A parcel in the buffer: this, its attributes, its body. */
struct head {
    uint32_t attributes_bytes;
    uint32_t body_bytes;
};

void outbox_init(struct outbox *outbox, struct quota *quota, uint64_t message_bytes_max)
{
    const uint64_t heads = (uint64_t)WIRE_PUBLISHES_MAX * sizeof(struct head);
    uint64_t bytes_max = wire_publishes_bytes_max(message_bytes_max);
    if (bytes_max > SIZE_MAX - heads)
        bytes_max = SIZE_MAX - heads;
    *outbox = (struct outbox){ .quota = quota, .bytes_max = (size_t)bytes_max };
    buffer_init(&outbox->parcels, (size_t)(bytes_max + heads));
}

void outbox_clear(struct outbox *outbox)
{
    buffer_clear(&outbox->parcels);
    *outbox = (struct outbox){ .quota = NULL };
}

/* How large the buffer may be with one parcel more, by what one message may publish. */
static size_t most_of(const struct outbox *outbox)
{
    return outbox->bytes_max + (outbox->count + 1) * sizeof(struct head);
}

/* The same, and by what the quota has left. */
static size_t limit_of(const struct outbox *outbox)
{
    size_t most = most_of(outbox);
    size_t room = quota_room(outbox->quota);
    size_t has = outbox->charged_bytes;
    return has < most && room < most - has ? has + room : most;
}

struct buffer *outbox_begin(struct outbox *outbox)
{
    const struct head unknown = { .body_bytes = 0 };
    outbox->parcels.size = outbox->kept_bytes;
    outbox->parcels.limit = limit_of(outbox);
    outbox->parcels.failed = false;
    (void)buffer_append(&outbox->parcels, &unknown, sizeof unknown);
    return &outbox->parcels;
}

void outbox_begin_body(struct outbox *outbox)
{
    outbox->body_at = outbox->parcels.size;
}

static void charge(struct outbox *outbox)
{
    quota_charge(outbox->quota, outbox->parcels.capacity - outbox->charged_bytes);
    outbox->charged_bytes = outbox->parcels.capacity;
}

enum outbox_end outbox_end(struct outbox *outbox)
{
    charge(outbox);
    if (outbox->parcels.failed)
        return outbox->parcels.limit < most_of(outbox) ? OUTBOX_NO_MEMORY : OUTBOX_TOO_LARGE;
    size_t attributes_bytes = outbox->body_at - outbox->kept_bytes - sizeof(struct head);
    size_t body_bytes = outbox->parcels.size - outbox->body_at;
    if (attributes_bytes > WIRE_PUBLISH_ATTRIBUTES_MAX)
        return OUTBOX_ATTRIBUTES;
    if (body_bytes > UINT32_MAX)
        return OUTBOX_TOO_LARGE;
    if (outbox->count == WIRE_PUBLISHES_MAX)
        return OUTBOX_TOO_MANY;
    const struct head head = { (uint32_t)attributes_bytes, (uint32_t)body_bytes };
    memcpy(outbox->parcels.data + outbox->kept_bytes, &head, sizeof head);
    outbox->kept_bytes = outbox->parcels.size;
    outbox->count++;
    return OUTBOX_KEPT;
}

static struct slice take(struct slice *rest, size_t size)
{
    const struct slice front = { .data = rest->data, .size = size };
    rest->data += size;
    rest->size -= size;
    return front;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A frame for the head and as much of the body as fits, then one for each further piece. */
static void send_parcel(struct link *link, uint64_t seq, struct slice attributes, struct slice body)
{
    const struct wire_publish publish = { .seq = seq,
                                          .attributes_bytes = (uint32_t)attributes.size,
                                          .body_bytes = (uint32_t)body.size };
    const size_t room = WIRE_REPORT_MAX - WIRE_PUBLISH_BYTES - attributes.size;
    struct slice piece = take(&body, least(body.size, room));
    struct buffer *frame = link_begin(link, WIRE_PUBLISH);
    wire_add_publish(frame, &publish);
    (void)buffer_append(frame, attributes.data, attributes.size);
    (void)buffer_append(frame, piece.data, piece.size);
    link_end(link);
    while (body.size > 0) {
        piece = take(&body, least(body.size, WIRE_REPORT_MAX));
        frame = link_begin(link, WIRE_PIECE);
        (void)buffer_append(frame, piece.data, piece.size);
        link_end(link);
    }
}

void outbox_send(const struct outbox *outbox, struct link *link, uint64_t seq)
{
    struct slice rest = { .data = outbox->parcels.data, .size = outbox->kept_bytes };
    for (size_t i = 0; i < outbox->count; i++) {
        struct head head;
        memcpy(&head, take(&rest, sizeof head).data, sizeof head);
        struct slice attributes = take(&rest, head.attributes_bytes);
        struct slice body = take(&rest, head.body_bytes);
        send_parcel(link, seq, attributes, body);
    }
}

void outbox_reset(struct outbox *outbox)
{
    outbox->open = false;
    if (outbox->parcels.capacity == 0)
        return;
    buffer_reset(&outbox->parcels);
    buffer_shrink(&outbox->parcels, KEEP_BYTES);
    quota_release(outbox->quota, outbox->charged_bytes);
    outbox->charged_bytes = 0;
    outbox->kept_bytes = 0;
    outbox->count = 0;
}
