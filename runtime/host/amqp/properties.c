/* A message's properties: from rabbitmq-c's struct to the attributes that the wire carries, and back. */
#include "host/amqp/internal.h"

#include <stddef.h>
#include <string.h>

/* Each property that is a text, and where it stands in the struct. */
static const struct {
    amqp_flags_t flag;
    enum wire_attribute_id id;
    size_t offset;
} texts[] = {
    { AMQP_BASIC_CONTENT_TYPE_FLAG, WIRE_CONTENT_TYPE, offsetof(amqp_basic_properties_t, content_type) },
    { AMQP_BASIC_CONTENT_ENCODING_FLAG, WIRE_CONTENT_ENCODING,
      offsetof(amqp_basic_properties_t, content_encoding) },
    { AMQP_BASIC_CORRELATION_ID_FLAG, WIRE_CORRELATION_ID,
      offsetof(amqp_basic_properties_t, correlation_id) },
    { AMQP_BASIC_REPLY_TO_FLAG, WIRE_REPLY_TO, offsetof(amqp_basic_properties_t, reply_to) },
    { AMQP_BASIC_EXPIRATION_FLAG, WIRE_EXPIRATION, offsetof(amqp_basic_properties_t, expiration) },
    { AMQP_BASIC_MESSAGE_ID_FLAG, WIRE_MESSAGE_ID, offsetof(amqp_basic_properties_t, message_id) },
    { AMQP_BASIC_TYPE_FLAG, WIRE_MESSAGE_TYPE, offsetof(amqp_basic_properties_t, type) },
    { AMQP_BASIC_USER_ID_FLAG, WIRE_USER_ID, offsetof(amqp_basic_properties_t, user_id) },
    { AMQP_BASIC_APP_ID_FLAG, WIRE_APP_ID, offsetof(amqp_basic_properties_t, app_id) },
    { AMQP_BASIC_CLUSTER_ID_FLAG, WIRE_CLUSTER_ID, offsetof(amqp_basic_properties_t, cluster_id) },
};

/* rabbitmq-c writes a table behind four bytes of big-endian length; the attribute has its own length in
 * front, in host order. The table is encoded in place and that length written over. */
static bool encode_headers(amqp_table_t headers, struct buffer *to)
{
    const size_t length_bytes = sizeof(uint32_t);
    uint8_t id = WIRE_HEADERS;
    (void)buffer_append(to, &id, sizeof id);
    size_t most = to->limit - to->size;
    if (to->failed || !buffer_reserve(to, most))
        return false;
    char *table = to->data + to->size;
    amqp_bytes_t room = { .bytes = table, .len = most };
    size_t offset = 0;
    if (amqp_encode_table(room, &headers, &offset) != AMQP_STATUS_OK || offset < length_bytes)
        return false;
    uint32_t size = (uint32_t)(offset - length_bytes);
    memcpy(table, &size, sizeof size);
    to->size += offset;
    return true;
}

bool properties_encode(const amqp_basic_properties_t *properties, struct buffer *to)
{
    amqp_flags_t flags = properties->_flags;
    for (size_t i = 0; flags && i < sizeof texts / sizeof texts[0]; i++) {
        if (flags & texts[i].flag) {
            amqp_bytes_t text;
            memcpy(&text, (const char *)properties + texts[i].offset, sizeof text);
            wire_add(to, texts[i].id, (struct slice){ .data = text.bytes, .size = text.len });
        }
    }
    if (flags & AMQP_BASIC_TIMESTAMP_FLAG)
        wire_add(to, WIRE_TIMESTAMP,
                 (struct slice){ .data = (const char *)&properties->timestamp, .size = sizeof(uint64_t) });
    if (flags & AMQP_BASIC_PRIORITY_FLAG)
        wire_add(to, WIRE_PRIORITY, (struct slice){ .data = (const char *)&properties->priority, .size = 1 });
    if (flags & AMQP_BASIC_DELIVERY_MODE_FLAG)
        wire_add(to, WIRE_DELIVERY_MODE,
                 (struct slice){ .data = (const char *)&properties->delivery_mode, .size = 1 });
    if ((flags & AMQP_BASIC_HEADERS_FLAG) && !encode_headers(properties->headers, to))
        return false;
    return !to->failed;
}

static bool decode_text(const struct wire_attribute *attribute, amqp_basic_properties_t *properties)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].id != attribute->id)
            continue;
        amqp_bytes_t text = { .bytes = (void *)(uintptr_t)attribute->value.data,
                              .len = attribute->value.size };
        memcpy((char *)properties + texts[i].offset, &text, sizeof text);
        properties->_flags |= texts[i].flag;
        return attribute->value.size <= WIRE_NAME_MAX;
    }
    return true;
}

/* rabbitmq-c reads a table behind its length only, so the entries are copied behind one. What a worker sent
 * was found sound before (parcel.h); what goes back to the broker came through rabbitmq-c and nests as deep
 * as it came. */
static bool decode_headers(struct slice entries, amqp_pool_t *pool, amqp_basic_properties_t *properties)
{
    const size_t length_bytes = sizeof(uint32_t);
    amqp_bytes_t encoded = { .len = length_bytes + entries.size };
    size_t offset = 0;
    encoded.bytes = amqp_pool_alloc(pool, encoded.len);
    if (!encoded.bytes)
        return false;
    for (size_t i = 0; i < length_bytes; i++)
        ((char *)encoded.bytes)[i] = (char)(entries.size >> (8 * (length_bytes - 1 - i)));
    if (entries.size)
        memcpy((char *)encoded.bytes + length_bytes, entries.data, entries.size);
    properties->_flags |= AMQP_BASIC_HEADERS_FLAG;
    return amqp_decode_table(encoded, pool, &properties->headers, &offset) == AMQP_STATUS_OK;
}

static bool decode_number(struct slice value, void *to, size_t size, amqp_flags_t flag,
                          amqp_basic_properties_t *properties)
{
    if (value.size != size)
        return false;
    memcpy(to, value.data, size);
    properties->_flags |= flag;
    return true;
}

static bool decode_property(const struct wire_attribute *attribute, amqp_pool_t *pool,
                            amqp_basic_properties_t *properties)
{
    switch (attribute->id) {
    case WIRE_HEADERS:
        return decode_headers(attribute->value, pool, properties);
    case WIRE_TIMESTAMP:
        return decode_number(attribute->value, &properties->timestamp, sizeof properties->timestamp,
                             AMQP_BASIC_TIMESTAMP_FLAG, properties);
    case WIRE_PRIORITY:
        return decode_number(attribute->value, &properties->priority, sizeof properties->priority,
                             AMQP_BASIC_PRIORITY_FLAG, properties);
    case WIRE_DELIVERY_MODE:
        return decode_number(attribute->value, &properties->delivery_mode, sizeof properties->delivery_mode,
                             AMQP_BASIC_DELIVERY_MODE_FLAG, properties);
    default:
        return decode_text(attribute, properties);
    }
}

bool properties_decode(struct slice attributes, amqp_pool_t *pool, amqp_basic_properties_t *ret_properties)
{
    amqp_basic_properties_t properties = { 0 };
    struct wire_attribute attribute;
    enum wire_next next;
    while ((next = wire_take_attribute(&attributes, &attribute)) == WIRE_FRAME) {
        if (!decode_property(&attribute, pool, &properties))
            return false;
    }
    *ret_properties = properties;
    return next == WIRE_MORE;
}
