/* Taking a delivery apart; see message.h. */
#include "worker/message.h"

#include <string.h>
#include <strings.h>

static bool has_its_size(const struct wire_attribute *attribute)
{
    switch (attribute->id) {
    case WIRE_TIMESTAMP:
        return attribute->value.size == sizeof(uint64_t);
    case WIRE_PRIORITY:
    case WIRE_DELIVERY_MODE:
        return attribute->value.size == sizeof(uint8_t);
    default:
        return true;
    }
}

static void keep(struct message *message, const struct wire_attribute *attribute)
{
    if (attribute->id >= MESSAGE_ATTRIBUTES || message->present >> attribute->id & 1)
        return;
    message->attributes[attribute->id] = attribute->value;
    message->present |= UINT64_C(1) << attribute->id;
}

/* `following` is what stands behind the attributes. */
static bool find_body(const struct wire_deliver *deliver, struct slice following, const struct shelf *shelf,
                      struct slice *ret_body)
{
    *ret_body = following;
    return !deliver->laid || shelf_find(shelf, deliver->laid_at, deliver->body_bytes, ret_body);
}

bool message_parse(struct slice payload, const struct shelf *shelf, struct message *message)
{
    if (!wire_take_deliver(&payload, &message->deliver))
        return false;
    size_t attributes_bytes = message->deliver.attributes_bytes;
    struct slice rest = { .data = payload.data, .size = attributes_bytes };
    struct wire_attribute attribute;
    enum wire_next next;
    message->present = 0;
    while ((next = wire_take_attribute(&rest, &attribute)) == WIRE_FRAME) {
        if (!has_its_size(&attribute))
            return false;
        keep(message, &attribute);
    }
    const struct slice following = { .data = payload.data + attributes_bytes,
                                     .size = payload.size - attributes_bytes };
    return next == WIRE_MORE && find_body(&message->deliver, following, shelf, &message->body);
}

bool message_find(const struct message *message, enum wire_attribute_id id, struct slice *ret_value)
{
    if (!(message->present >> id & 1))
        return false;
    *ret_value = message->attributes[id];
    return true;
}

/* The media type in front of the parameters, without the space around it. */
static struct slice media_type(struct slice type)
{
    const char *parameters = type.size ? memchr(type.data, ';', type.size) : NULL;
    if (parameters)
        type.size = (size_t)(parameters - type.data);
    while (type.size > 0 && (type.data[0] == ' ' || type.data[0] == '\t')) {
        type.data++;
        type.size--;
    }
    while (type.size > 0 && (type.data[type.size - 1] == ' ' || type.data[type.size - 1] == '\t'))
        type.size--;
    return type;
}

static bool ends_with(struct slice text, const char *end)
{
    size_t size = strlen(end);
    return text.size >= size && strncasecmp(text.data + text.size - size, end, size) == 0;
}

bool message_is_json(const struct message *message)
{
    static const char json[] = "application/json";
    struct slice type;
    if (!message_find(message, WIRE_CONTENT_TYPE, &type))
        return false;
    type = media_type(type);
    return (type.size == strlen(json) && ends_with(type, json)) || ends_with(type, "+json");
}
