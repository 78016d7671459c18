/* Assembling deliveries; see assembly.h. */
#include "host/assembly.h"

#include "common/wire.h"
#include "host/letter.h"

#include <string.h>

enum {
    ENVELOPE_BYTES = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES,
    HEAD_MAX = 1024,
};

void assembly_init(struct assembly *assembly)
{
    *assembly = (struct assembly){ 0 };
    /* Exchange, routing key and tag are short strings of at most 255 bytes each. */
    buffer_init(&assembly->head, HEAD_MAX + WIRE_ATTRIBUTES_MAX);
    buffer_init(&assembly->restored, HEAD_MAX + WIRE_ATTRIBUTES_MAX);
}

void assembly_clear(struct assembly *assembly)
{
    buffer_clear(&assembly->head);
    buffer_clear(&assembly->restored);
}

void assembly_reset(struct assembly *assembly)
{
    assembly->delivery = NULL;
    assembly->has_header = false;
    assembly->missing = 0;
}

static enum assembly_next broken(struct error *error, const char *how)
{
    error_set(error, ERROR_FAILED, "the broker broke the protocol: %s", how);
    return ASSEMBLY_BROKEN;
}

static enum assembly_next take_method(struct assembly *assembly, struct ledger *ledger,
                                      const struct event *event, struct error *error)
{
    if (assembly->delivery)
        return broken(error, "a delivery began before the last one had ended");
    struct delivery *delivery = ledger_arrive(ledger, event->tag);
    if (!delivery)
        return broken(error, "it delivered more than the prefetch, or a tag that does not rise");
    delivery->redelivered = event->redelivered;
    buffer_reset(&assembly->head);
    wire_add(&assembly->head, WIRE_CONSUMER_TAG, event->text);
    wire_add(&assembly->head, WIRE_EXCHANGE, event->exchange);
    wire_add(&assembly->head, WIRE_ROUTING_KEY, event->routing_key);
    assembly->delivery = delivery;
    assembly->has_header = false;
    bool fits = !assembly->head.failed && assembly->head.size <= HEAD_MAX;
    return fits ? ASSEMBLY_MORE : broken(error, "a short string is too long");
}

static enum assembly_next finish(struct assembly *assembly, struct ledger *ledger,
                                 struct delivery **ret_delivery)
{
    struct delivery *delivery = assembly->delivery;
    assembly_reset(assembly);
    ledger_hold(ledger, delivery);
    *ret_delivery = delivery;
    return ASSEMBLY_WHOLE;
}

/* All attributes in `head`, or where the message comes back in `restored`. */
static struct buffer *join_attributes(struct assembly *assembly, struct slice attributes, const char *queue)
{
    struct buffer *head = &assembly->head;
    struct buffer *restored = &assembly->restored;
    (void)buffer_append(head, attributes.data, attributes.size);
    buffer_reset(restored);
    const struct slice all = { .data = head->data, .size = head->size };
    enum letter_kind kind = letter_restore(all, queue, restored, &assembly->delivery->failed);
    return kind == LETTER_NEW ? head : restored;
}

/* Both kinds of attributes are bounded by their buffers, and a body that is kept is at most `body_limit`, a
 * configured size: their sum cannot overflow. */
static enum assembly_next take_header(struct assembly *assembly, struct ledger *ledger,
                                      const struct event *event, const char *queue, uint64_t body_limit,
                                      struct delivery **ret_delivery, struct error *error)
{
    struct delivery *delivery = assembly->delivery;
    if (!delivery || assembly->has_header)
        return broken(error, "a header frame belongs to no delivery");
    delivery->stripped = event->too_large;
    delivery->oversized = event->too_large || event->body_bytes > body_limit;
    delivery->body_bytes = event->body_bytes;
    size_t kept = delivery->oversized ? 0 : (size_t)event->body_bytes;
    const struct buffer *attributes = join_attributes(assembly, event->attributes, queue);
    if (attributes->failed || !delivery_reserve(delivery, ENVELOPE_BYTES + attributes->size + kept)) {
        error_set(error, ERROR_FAILED,
                  "no memory for a message of %zu bytes: lower prefetch or limits.message", kept);
        return ASSEMBLY_BROKEN;
    }
    memcpy(delivery->frame + ENVELOPE_BYTES, attributes->data, attributes->size);
    delivery->attributes_bytes = (uint32_t)attributes->size;
    delivery->frame_bytes = ENVELOPE_BYTES + attributes->size;
    assembly->has_header = true;
    assembly->missing = event->body_bytes;
    return assembly->missing ? ASSEMBLY_MORE : finish(assembly, ledger, ret_delivery);
}

static enum assembly_next take_body(struct assembly *assembly, struct ledger *ledger,
                                    const struct event *event, struct delivery **ret_delivery,
                                    struct error *error)
{
    struct delivery *delivery = assembly->delivery;
    if (!delivery || !assembly->has_header)
        return broken(error, "a body frame belongs to no delivery");
    if (event->text.size > assembly->missing)
        return broken(error, "a body is longer than its header said");
    if (!delivery->oversized && event->text.size) {
        memcpy(delivery->frame + delivery->frame_bytes, event->text.data, event->text.size);
        delivery->frame_bytes += event->text.size;
    }
    assembly->missing -= event->text.size;
    return assembly->missing ? ASSEMBLY_MORE : finish(assembly, ledger, ret_delivery);
}

enum assembly_next assembly_take(struct assembly *assembly, struct ledger *ledger, const struct event *event,
                                 const char *queue, uint64_t body_limit, struct delivery **ret_delivery,
                                 struct error *error)
{
    switch (event->kind) {
    case EVENT_DELIVER:
        return take_method(assembly, ledger, event, error);
    case EVENT_HEADER:
        return take_header(assembly, ledger, event, queue, body_limit, ret_delivery, error);
    case EVENT_BODY:
        return take_body(assembly, ledger, event, ret_delivery, error);
    default:
        return ASSEMBLY_MORE;
    }
}

struct slice delivery_attributes(const struct delivery *delivery)
{
    return (struct slice){ .data = delivery->frame + ENVELOPE_BYTES, .size = delivery->attributes_bytes };
}

struct slice delivery_body(const struct delivery *delivery)
{
    size_t before = ENVELOPE_BYTES + (size_t)delivery->attributes_bytes;
    return (struct slice){ .data = delivery->frame + before, .size = delivery->frame_bytes - before };
}
