/* Reading and marking a parcel's content; see parcel.h. */
#include "host/parcel.h"

#include "common/fields.h"

#include <string.h>

bool parcel_next(const struct parcel *parcel, size_t *offset, struct publication *ret)
{
    struct slice rest = { .data = parcel->content + *offset, .size = parcel->content_bytes - *offset };
    uint64_t mark;
    uint32_t attributes_bytes, body_bytes;
    if (rest.size < WIRE_PUBLISH_BYTES)
        return false;
    memcpy(&mark, rest.data, sizeof mark);
    memcpy(&attributes_bytes, rest.data + 8, sizeof attributes_bytes);
    memcpy(&body_bytes, rest.data + 12, sizeof body_bytes);
    rest.data += WIRE_PUBLISH_BYTES;
    *ret = (struct publication){
        .attributes = { .data = rest.data, .size = attributes_bytes },
        .body = { .data = rest.data + attributes_bytes, .size = body_bytes },
        .confirmed = mark & PARCEL_CONFIRMED,
    };
    *offset += WIRE_PUBLISH_BYTES + (size_t)attributes_bytes;
    if (mark & PARCEL_BODY_ELSEWHERE)
        ret->body = parcel->body;
    else
        *offset += body_bytes;
    return true;
}

void parcel_mark_confirmed(struct parcel *parcel, size_t offset)
{
    uint64_t mark;
    memcpy(&mark, parcel->content + offset, sizeof mark);
    mark |= PARCEL_CONFIRMED;
    memcpy(parcel->content + offset, &mark, sizeof mark);
}

static bool is_sound(const struct wire_attribute *attribute)
{
    switch (attribute->id) {
    case WIRE_HEADERS:
        return fields_are_sound(attribute->value);
    case WIRE_TIMESTAMP:
        return attribute->value.size == sizeof(uint64_t);
    case WIRE_PRIORITY:
    case WIRE_DELIVERY_MODE:
        return attribute->value.size == sizeof(uint8_t);
    case WIRE_CONSUMER_TAG:
    case WIRE_CLUSTER_ID:
        return false;
    default:
        return attribute->id >= WIRE_EXCHANGE && attribute->id <= WIRE_APP_ID &&
               attribute->value.size <= WIRE_NAME_MAX;
    }
}

bool parcel_attributes_are_sound(struct slice attributes)
{
    uint64_t seen = 0;
    struct wire_attribute attribute;
    enum wire_next next;
    while ((next = wire_take_attribute(&attributes, &attribute)) == WIRE_FRAME) {
        if (attribute.id >= 64 || (seen >> attribute.id & 1) || !is_sound(&attribute))
            return false;
        seen |= UINT64_C(1) << attribute.id;
    }
    return next == WIRE_MORE;
}

void parcel_add_head(struct buffer *to, uint64_t mark, struct slice attributes, uint32_t body_bytes)
{
    const struct wire_publish head = { .seq = mark,
                                       .attributes_bytes = (uint32_t)attributes.size,
                                       .body_bytes = body_bytes };
    wire_add_publish(to, &head);
    (void)buffer_append(to, attributes.data, attributes.size);
}

static const char *words_for(uint16_t failure)
{
    switch (failure) {
    case PARCEL_REFUSED:
        return "the broker refused it (basic.nack), as a full queue does";
    case PARCEL_TOO_LARGE:
        return "its headers do not fit a frame of the broker";
    case 312:
        return "no queue takes it (312 NO_ROUTE)";
    case 313:
        return "nobody consumes it (313 NO_CONSUMERS)";
    case 403:
        return "publishing there is not permitted (403 ACCESS_REFUSED)";
    case 404:
        return "there is no such exchange (404 NOT_FOUND)";
    case 406:
        return "the broker does not take its properties (406 PRECONDITION_FAILED)";
    default:
        return "the broker closed the channel over it";
    }
}

static void append_name(struct buffer *to, struct slice attributes, enum wire_attribute_id id)
{
    struct slice name = { .data = "", .size = 0 };
    (void)wire_find(attributes, id, &name);
    (void)buffer_append_text(to, "\"");
    (void)buffer_append(to, name.data, name.size);
    (void)buffer_append_text(to, "\"");
}

void parcel_describe_failure(const struct parcel *parcel, struct buffer *to)
{
    struct publication publication;
    size_t offset = parcel->failed_at;
    (void)buffer_append_text(to, "a message to exchange ");
    if (parcel_next(parcel, &offset, &publication)) {
        append_name(to, publication.attributes, WIRE_EXCHANGE);
        (void)buffer_append_text(to, " with routing key ");
        append_name(to, publication.attributes, WIRE_ROUTING_KEY);
    }
    (void)buffer_append_text(to, " was not taken: ");
    (void)buffer_append_text(to, words_for(parcel->failure));
}
