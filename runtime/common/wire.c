/* Encoding and decoding of the frames between host and worker; see wire.h. */
#include "common/wire.h"

#include <math.h>
#include <string.h>

/* Fixed structs travel field by field: PUT appends one to a buffer, TAKE takes one off a cursor. */
#define PUT(buffer, value)  (void)buffer_append((buffer), &(value), sizeof(value))
#define COPY(cursor, value) (memcpy(&(value), (cursor), sizeof(value)), (cursor) += sizeof(value))
#define STAMP(to, value)    (memcpy((to), &(value), sizeof(value)), (to) += sizeof(value))

static const char *take(struct slice *payload, size_t size)
{
    if (payload->size < size)
        return NULL;
    const char *front = payload->data;
    payload->data += size;
    payload->size -= size;
    return front;
}

enum wire_next wire_next(struct slice bytes, size_t payload_max, struct wire_frame *frame)
{
    if (bytes.size < WIRE_HEADER_BYTES)
        return WIRE_MORE;
    uint32_t size;
    memcpy(&size, bytes.data, sizeof size);
    if (size > payload_max || bytes.data[5] || bytes.data[6] || bytes.data[7])
        return WIRE_BROKEN;
    if (bytes.size - WIRE_HEADER_BYTES < size)
        return WIRE_MORE;
    frame->type = (uint8_t)bytes.data[4];
    frame->payload = (struct slice){ .data = bytes.data + WIRE_HEADER_BYTES, .size = size };
    return WIRE_FRAME;
}

size_t wire_begin(struct buffer *buffer, enum wire_type type)
{
    size_t mark = buffer->size;
    const char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, (char)type, 0, 0, 0 };
    (void)buffer_append(buffer, header, sizeof header);
    return mark;
}

void wire_add(struct buffer *buffer, enum wire_attribute_id id, struct slice value)
{
    if (value.size > UINT32_MAX || !buffer_reserve(buffer, WIRE_ATTRIBUTE_BYTES + value.size)) {
        buffer->failed = true;
        return;
    }
    uint8_t byte = (uint8_t)id;
    uint32_t size = (uint32_t)value.size;
    PUT(buffer, byte);
    PUT(buffer, size);
    (void)buffer_append(buffer, value.data, value.size);
}

void wire_end(struct buffer *buffer, size_t mark)
{
    if (buffer->failed || buffer->size - mark < WIRE_HEADER_BYTES)
        return;
    size_t payload = buffer->size - mark - WIRE_HEADER_BYTES;
    if (payload > UINT32_MAX) {
        buffer->failed = true;
        return;
    }
    uint32_t size = (uint32_t)payload;
    memcpy(buffer->data + mark, &size, sizeof size);
}

void wire_add_setup(struct buffer *buffer, const struct wire_setup *setup)
{
    PUT(buffer, setup->memory_bytes);
    PUT(buffer, setup->deadline_ns);
    PUT(buffer, setup->grace_ns);
    PUT(buffer, setup->message_bytes);
    PUT(buffer, setup->recycle_messages);
    PUT(buffer, setup->recycle_memory_bytes);
    PUT(buffer, setup->concurrency);
    PUT(buffer, setup->http_timeout_ns);
    PUT(buffer, setup->http_response_bytes);
    PUT(buffer, setup->http_per_host);
    PUT(buffer, setup->http_failures);
    PUT(buffer, setup->http_pause_ns);
    PUT(buffer, setup->decode);
    PUT(buffer, setup->log_level);
    PUT(buffer, setup->seccomp);
    PUT(buffer, setup->on_trial);
}

void wire_add_result(struct buffer *buffer, const struct wire_result *result)
{
    PUT(buffer, result->seq);
    PUT(buffer, result->slot);
    PUT(buffer, result->verdict);
    PUT(buffer, result->elapsed_ns);
    PUT(buffer, result->delay_ns);
}

void wire_add_ready(struct buffer *buffer, const struct wire_ready *ready)
{
    PUT(buffer, ready->heap_bytes);
}

void wire_add_log(struct buffer *buffer, const struct wire_log *log)
{
    PUT(buffer, log->level);
}

void wire_add_recycled(struct buffer *buffer, const struct wire_recycled *recycled)
{
    PUT(buffer, recycled->reason);
    PUT(buffer, recycled->messages);
    PUT(buffer, recycled->age_ns);
    PUT(buffer, recycled->heap_bytes);
    PUT(buffer, recycled->peak_bytes);
    PUT(buffer, recycled->pause_ns);
}

void wire_add_publish(struct buffer *buffer, const struct wire_publish *publish)
{
    PUT(buffer, publish->seq);
    PUT(buffer, publish->attributes_bytes);
    PUT(buffer, publish->body_bytes);
}

void wire_add_leak(struct buffer *buffer, const struct wire_leak *leak)
{
    PUT(buffer, leak->entries);
    PUT(buffer, leak->entries_per_message);
    PUT(buffer, leak->bytes);
    PUT(buffer, leak->bytes_per_message);
    PUT(buffer, leak->share);
}

void wire_add_looked(struct buffer *buffer, const struct wire_looked *looked)
{
    PUT(buffer, looked->looks);
    PUT(buffer, looked->objects);
    PUT(buffer, looked->spent_ns);
    PUT(buffer, looked->alive_ns);
    PUT(buffer, looked->complete);
}

/* Of the body, behind the attributes. */
static uint32_t following_bytes(const struct wire_deliver *deliver)
{
    return deliver->laid ? 0 : deliver->body_bytes;
}

void wire_stamp_deliver(char *to, const struct wire_deliver *deliver)
{
    uint32_t size = WIRE_DELIVER_BYTES + deliver->attributes_bytes + following_bytes(deliver);
    const char type[4] = { WIRE_DELIVER, 0, 0, 0 };
    STAMP(to, size);
    STAMP(to, type);
    STAMP(to, deliver->seq);
    STAMP(to, deliver->slot);
    STAMP(to, deliver->attempt);
    STAMP(to, deliver->attributes_bytes);
    STAMP(to, deliver->body_bytes);
    STAMP(to, deliver->redelivered);
    STAMP(to, deliver->laid);
    STAMP(to, deliver->laid_at);
}

bool wire_take_setup(struct slice *payload, struct wire_setup *setup)
{
    const char *cursor = take(payload, WIRE_SETUP_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, setup->memory_bytes);
    COPY(cursor, setup->deadline_ns);
    COPY(cursor, setup->grace_ns);
    COPY(cursor, setup->message_bytes);
    COPY(cursor, setup->recycle_messages);
    COPY(cursor, setup->recycle_memory_bytes);
    COPY(cursor, setup->concurrency);
    COPY(cursor, setup->http_timeout_ns);
    COPY(cursor, setup->http_response_bytes);
    COPY(cursor, setup->http_per_host);
    COPY(cursor, setup->http_failures);
    COPY(cursor, setup->http_pause_ns);
    COPY(cursor, setup->decode);
    COPY(cursor, setup->log_level);
    COPY(cursor, setup->seccomp);
    COPY(cursor, setup->on_trial);
    return true;
}

bool wire_take_deliver(struct slice *payload, struct wire_deliver *deliver)
{
    struct slice rest = *payload;
    struct wire_deliver taken;
    const char *cursor = take(&rest, WIRE_DELIVER_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, taken.seq);
    COPY(cursor, taken.slot);
    COPY(cursor, taken.attempt);
    COPY(cursor, taken.attributes_bytes);
    COPY(cursor, taken.body_bytes);
    COPY(cursor, taken.redelivered);
    COPY(cursor, taken.laid);
    COPY(cursor, taken.laid_at);
    if (rest.size != (uint64_t)taken.attributes_bytes + following_bytes(&taken))
        return false;
    *payload = rest;
    *deliver = taken;
    return true;
}

bool wire_take_result(struct slice *payload, struct wire_result *result)
{
    const char *cursor = take(payload, WIRE_RESULT_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, result->seq);
    COPY(cursor, result->slot);
    COPY(cursor, result->verdict);
    COPY(cursor, result->elapsed_ns);
    COPY(cursor, result->delay_ns);
    return result->verdict >= WIRE_ACK && result->verdict < WIRE_VERDICTS;
}

bool wire_take_ready(struct slice *payload, struct wire_ready *ready)
{
    const char *cursor = take(payload, WIRE_READY_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, ready->heap_bytes);
    return true;
}

bool wire_take_log(struct slice *payload, struct wire_log *log)
{
    const char *cursor = take(payload, WIRE_LOG_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, log->level);
    return true;
}

bool wire_take_recycled(struct slice *payload, struct wire_recycled *recycled)
{
    struct slice rest = *payload;
    struct wire_recycled taken;
    const char *cursor = take(&rest, WIRE_RECYCLED_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, taken.reason);
    COPY(cursor, taken.messages);
    COPY(cursor, taken.age_ns);
    COPY(cursor, taken.heap_bytes);
    COPY(cursor, taken.peak_bytes);
    COPY(cursor, taken.pause_ns);
    if (taken.reason == WIRE_RECYCLE_NONE || taken.reason >= WIRE_RECYCLE_REASONS)
        return false;
    *payload = rest;
    *recycled = taken;
    return true;
}

bool wire_take_publish(struct slice *payload, struct wire_publish *publish)
{
    struct slice rest = *payload;
    struct wire_publish taken;
    const char *cursor = take(&rest, WIRE_PUBLISH_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, taken.seq);
    COPY(cursor, taken.attributes_bytes);
    COPY(cursor, taken.body_bytes);
    if (taken.attributes_bytes > WIRE_PUBLISH_ATTRIBUTES_MAX || rest.size < taken.attributes_bytes ||
        rest.size - taken.attributes_bytes > taken.body_bytes)
        return false;
    *payload = rest;
    *publish = taken;
    return true;
}

static bool is_measure(double number)
{
    return isfinite(number) && number >= 0;
}

bool wire_take_leak(struct slice *payload, struct wire_leak *leak)
{
    struct slice rest = *payload;
    struct wire_leak taken;
    const char *cursor = take(&rest, WIRE_LEAK_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, taken.entries);
    COPY(cursor, taken.entries_per_message);
    COPY(cursor, taken.bytes);
    COPY(cursor, taken.bytes_per_message);
    COPY(cursor, taken.share);
    if (!is_measure(taken.entries_per_message) || !is_measure(taken.bytes_per_message) ||
        !is_measure(taken.share))
        return false;
    *payload = rest;
    *leak = taken;
    return true;
}

bool wire_take_looked(struct slice *payload, struct wire_looked *looked)
{
    const char *cursor = take(payload, WIRE_LOOKED_BYTES);
    if (!cursor)
        return false;
    COPY(cursor, looked->looks);
    COPY(cursor, looked->objects);
    COPY(cursor, looked->spent_ns);
    COPY(cursor, looked->alive_ns);
    COPY(cursor, looked->complete);
    return true;
}

enum wire_next wire_take_attribute(struct slice *rest, struct wire_attribute *attribute)
{
    struct slice after = *rest;
    if (after.size == 0)
        return WIRE_MORE;
    const char *cursor = take(&after, WIRE_ATTRIBUTE_BYTES);
    if (!cursor)
        return WIRE_BROKEN;
    uint8_t id;
    uint32_t size;
    COPY(cursor, id);
    COPY(cursor, size);
    const char *data = take(&after, size);
    if (!data)
        return WIRE_BROKEN;
    *attribute = (struct wire_attribute){ .id = id, .value = { .data = data, .size = size } };
    *rest = after;
    return WIRE_FRAME;
}

bool wire_find(struct slice attributes, enum wire_attribute_id id, struct slice *ret_value)
{
    struct wire_attribute attribute;
    while (wire_take_attribute(&attributes, &attribute) == WIRE_FRAME) {
        if (attribute.id == id) {
            *ret_value = attribute.value;
            return true;
        }
    }
    return false;
}
