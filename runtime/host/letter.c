/* Rewriting and restoring a message's attributes; see letter.h. */
#include "host/letter.h"

#include "common/fields.h"
#include "common/own_headers.h"
#include "common/wire.h"
#include "host/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Out */

/* What letter_write puts there itself. */
static const char *const written[] = { OWN_EXCHANGE,   OWN_ROUTING_KEY, OWN_QUEUE, OWN_ATTEMPT,
                                       OWN_EXPIRATION, OWN_USER_ID,     OWN_CC };
static const char *const written_when_dead[] = { OWN_REASON,   OWN_ERROR,      OWN_TIME,       OWN_HOST,
                                                 OWN_CONSUMER, OWN_BODY_BYTES, OWN_HEADERS_OUT };

static bool is_among(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equals(name, names[i]))
            return true;
    }
    return false;
}

static bool is_rewritten(struct slice name, bool dead)
{
    return is_among(name, written, sizeof written / sizeof written[0]) ||
           (dead &&
            is_among(name, written_when_dead, sizeof written_when_dead / sizeof written_when_dead[0]));
}

static void put_text(struct buffer *to, const char *name, struct slice value)
{
    fields_put_name(to, slice_of(name));
    fields_put_bytes(to, value);
}

static void put_integer(struct buffer *to, const char *name, int64_t value)
{
    fields_put_name(to, slice_of(name));
    fields_put_integer(to, value);
}

static void put_attribute(struct buffer *to, const char *name, struct slice attributes,
                          enum wire_attribute_id id)
{
    struct slice value;
    if (wire_find(attributes, id, &value))
        put_text(to, name, value);
}

/* An entry as it stands, name and value, under another name where one is given. */
static void copy_entry(struct buffer *to, struct slice entry, struct slice name, const char *new_name)
{
    struct slice value = { .data = name.data + name.size };
    value.size = entry.size - (size_t)(value.data - entry.data);
    fields_put_name(to, new_name ? slice_of(new_name) : name);
    (void)buffer_append(to, value.data, value.size);
}

/* Takes one entry off; the whole of it is in *ret_entry. */
static bool next_entry(struct slice *rest, struct slice *ret_entry, struct slice *ret_name,
                       struct field *ret_field)
{
    struct slice before = *rest;
    if (fields_next_entry(rest, ret_name, ret_field) != FIELDS_ONE)
        return false;
    *ret_entry = (struct slice){ .data = before.data, .size = before.size - rest->size };
    return true;
}

static void put_death(const struct letter *letter, struct buffer *to)
{
    struct slice error = letter->error;
    if (error.size > LETTER_ERROR_MAX)
        error.size = LETTER_ERROR_MAX;
    put_text(to, OWN_REASON, slice_of(letter->reason));
    put_text(to, OWN_ERROR, error);
    fields_put_name(to, slice_of(OWN_TIME));
    fields_put_timestamp(to, (uint64_t)letter->time);
    put_text(to, OWN_HOST, slice_of(letter->host));
    put_text(to, OWN_CONSUMER, slice_of(letter->consumer));
    if (letter->body_bytes >= 0)
        put_integer(to, OWN_BODY_BYTES, letter->body_bytes);
    if (letter->bare) {
        fields_put_name(to, slice_of(OWN_HEADERS_OUT));
        fields_put_boolean(to, true);
    }
}

static void put_headers(const struct letter *letter, struct slice attributes, struct buffer *to)
{
    struct slice rest = { 0 }, entry, name;
    struct field field;
    if (!letter->bare)
        (void)wire_find(attributes, WIRE_HEADERS, &rest);
    while (next_entry(&rest, &entry, &name, &field)) {
        if (!is_rewritten(name, letter->reason != NULL))
            copy_entry(to, entry, name, slice_equals(name, "CC") ? OWN_CC : NULL);
    }
    put_attribute(to, OWN_EXCHANGE, attributes, WIRE_EXCHANGE);
    put_attribute(to, OWN_ROUTING_KEY, attributes, WIRE_ROUTING_KEY);
    put_attribute(to, OWN_EXPIRATION, attributes, WIRE_EXPIRATION);
    put_attribute(to, OWN_USER_ID, attributes, WIRE_USER_ID);
    put_text(to, OWN_QUEUE, slice_of(letter->queue));
    put_integer(to, OWN_ATTEMPT, letter->attempt);
    if (letter->reason)
        put_death(letter, to);
}

/* An attribute whose size is known when its content is written. */
static size_t begin_attribute(struct buffer *to, enum wire_attribute_id id)
{
    wire_add(to, id, (struct slice){ 0 });
    return to->size;
}

static void end_attribute(struct buffer *to, size_t mark)
{
    uint32_t size = (uint32_t)(to->size - mark);
    if (!to->failed)
        memcpy(to->data + mark - sizeof size, &size, sizeof size);
}

static bool is_kept(uint8_t id)
{
    switch (id) {
    case WIRE_CONSUMER_TAG:
    case WIRE_EXCHANGE:
    case WIRE_ROUTING_KEY:
    case WIRE_HEADERS:
    case WIRE_EXPIRATION:
    case WIRE_USER_ID:
    case WIRE_CLUSTER_ID:
        return false;
    default:
        return true;
    }
}

void letter_write(const struct letter *letter, struct slice attributes, struct buffer *to)
{
    struct slice rest = attributes;
    struct wire_attribute attribute;
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (is_kept(attribute.id))
            wire_add(to, (enum wire_attribute_id)attribute.id, attribute.value);
    }
    wire_add(to, WIRE_ROUTING_KEY, slice_of(letter->to));
    if (letter->wait_ms >= 0) {
        char wait[32];
        (void)snprintf(wait, sizeof wait, "%" PRId64, letter->wait_ms);
        wire_add(to, WIRE_EXPIRATION, slice_of(wait));
    }
    size_t mark = begin_attribute(to, WIRE_HEADERS);
    put_headers(letter, attributes, to);
    end_attribute(to, mark);
}

/* Out again, from the dead-letter queue */

static bool begins_with(struct slice text, const char *prefix, size_t size)
{
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool is_note_of_death(struct slice name)
{
    static const char first_death[] = "x-first-death-";
    static const char last_death[] = "x-last-death-";
    return slice_equals(name, "x-death") || begins_with(name, first_death, sizeof first_death - 1) ||
           begins_with(name, last_death, sizeof last_death - 1);
}

/* Of the marks those stay that letter_restore puts back. */
static bool goes_back(const struct letter_origin *origin, struct slice name)
{
    if (slice_equals(name, OWN_EXPIRATION) || slice_equals(name, OWN_USER_ID) || slice_equals(name, OWN_CC))
        return true;
    return !is_rewritten(name, true) && !(origin->by_broker && is_note_of_death(name));
}

static void put_headers_back(const struct letter_origin *origin, struct slice attributes, struct buffer *to)
{
    struct slice rest = { 0 }, entry, name;
    struct field field;
    (void)wire_find(attributes, WIRE_HEADERS, &rest);
    while (next_entry(&rest, &entry, &name, &field)) {
        if (goes_back(origin, name))
            copy_entry(to, entry, name, slice_equals(name, "CC") ? OWN_CC : NULL);
    }
    put_text(to, OWN_EXCHANGE, origin->exchange);
    put_text(to, OWN_ROUTING_KEY, origin->routing_key);
    put_attribute(to, OWN_EXPIRATION, attributes, WIRE_EXPIRATION);
    put_attribute(to, OWN_USER_ID, attributes, WIRE_USER_ID);
}

void letter_write_back(const struct letter_origin *origin, struct slice attributes, struct buffer *to)
{
    struct slice rest = attributes;
    struct wire_attribute attribute;
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (is_kept(attribute.id))
            wire_add(to, (enum wire_attribute_id)attribute.id, attribute.value);
    }
    wire_add(to, WIRE_ROUTING_KEY, origin->queue);
    size_t mark = begin_attribute(to, WIRE_HEADERS);
    put_headers_back(origin, attributes, to);
    end_attribute(to, mark);
}

/* Back */

static bool find_text(struct slice headers, const char *name, struct slice *ret_text)
{
    struct field field;
    if (!fields_find(headers, name, &field) || field.kind != FIELD_BYTES)
        return false;
    *ret_text = field.bytes;
    return true;
}

static enum letter_kind kind_of(struct slice headers, const char *queue, uint32_t *ret_failed)
{
    struct slice text;
    struct field field;
    if (!find_text(headers, OWN_QUEUE, &text))
        return find_text(headers, OWN_EXCHANGE, &text) ? LETTER_RETURNED : LETTER_NEW;
    /* A dead letter that is consumed from its queue is a message like any other there. */
    if (!slice_equals(text, queue) || !fields_find(headers, OWN_ATTEMPT, &field) ||
        field.kind != FIELD_INTEGER || field.integer < 1 || field.integer > INT32_MAX)
        return LETTER_NEW;
    *ret_failed = (uint32_t)field.integer;
    return LETTER_RETRIED;
}

/* The broker's notes of how a message left its delay queue are of no use to anybody, and were not there
 * before. */
struct delays {
    char prefix[RETRY_QUEUE_NAME_MAX];
    size_t size;
    bool first_death; /* the x-first-death-… headers are of a delay queue */
    bool last_death;
};

static bool is_of_delay(const struct delays *delays, struct slice headers, const char *name)
{
    struct slice queue;
    return find_text(headers, name, &queue) && begins_with(queue, delays->prefix, delays->size);
}

/* x-death without the entries of delay queues; nothing where none is left. */
static void copy_deaths(const struct delays *delays, struct slice name, struct slice deaths,
                        struct buffer *to)
{
    size_t before = to->size;
    struct field death;
    fields_put_name(to, name);
    size_t mark = fields_begin_array(to);
    for (struct slice rest = deaths; rest.size > 0;) {
        const char *from = rest.data;
        if (fields_next_value(&rest, &death) != FIELDS_ONE)
            break;
        if (death.kind != FIELD_TABLE || !is_of_delay(delays, death.bytes, "queue"))
            (void)buffer_append(to, from, (size_t)(rest.data - from));
    }
    fields_end(to, mark);
    if (!to->failed && to->size == mark)
        to->size = before;
}

static void restore_entry(const struct delays *delays, struct slice entry, struct slice name,
                          const struct field *field, struct buffer *to)
{
    static const char first_death[] = "x-first-death-";
    static const char last_death[] = "x-last-death-";
    if (slice_equals(name, OWN_CC))
        copy_entry(to, entry, name, "CC");
    else if (slice_equals(name, "x-death") && field->kind == FIELD_ARRAY)
        copy_deaths(delays, name, field->bytes, to);
    else if (!is_among(name, written, sizeof written / sizeof written[0]) &&
             !(delays->first_death && begins_with(name, first_death, sizeof first_death - 1)) &&
             !(delays->last_death && begins_with(name, last_death, sizeof last_death - 1)))
        copy_entry(to, entry, name, NULL);
}

static void restore_headers(struct slice headers, const char *queue, struct buffer *to)
{
    struct slice rest = headers, entry, name;
    struct field field;
    struct delays delays;
    delays.size = retry_queue_prefix(queue, delays.prefix);
    delays.first_death = is_of_delay(&delays, headers, "x-first-death-queue");
    delays.last_death = is_of_delay(&delays, headers, "x-last-death-queue");
    while (next_entry(&rest, &entry, &name, &field))
        restore_entry(&delays, entry, name, &field, to);
}

static void restore_attribute(struct buffer *to, enum wire_attribute_id id, struct slice headers,
                              const char *name)
{
    struct slice text;
    if (find_text(headers, name, &text) && text.size <= WIRE_NAME_MAX)
        wire_add(to, id, text);
}

enum letter_kind letter_restore(struct slice attributes, const char *queue, struct buffer *to,
                                uint32_t *ret_failed)
{
    struct slice headers, rest = attributes, value;
    struct wire_attribute attribute;
    if (!wire_find(attributes, WIRE_HEADERS, &headers))
        return LETTER_NEW;
    enum letter_kind kind = kind_of(headers, queue, ret_failed);
    if (kind == LETTER_NEW)
        return LETTER_NEW;
    if (wire_find(attributes, WIRE_CONSUMER_TAG, &value))
        wire_add(to, WIRE_CONSUMER_TAG, value);
    restore_attribute(to, WIRE_EXCHANGE, headers, OWN_EXCHANGE);
    restore_attribute(to, WIRE_ROUTING_KEY, headers, OWN_ROUTING_KEY);
    restore_attribute(to, WIRE_EXPIRATION, headers, OWN_EXPIRATION);
    restore_attribute(to, WIRE_USER_ID, headers, OWN_USER_ID);
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (is_kept(attribute.id))
            wire_add(to, (enum wire_attribute_id)attribute.id, attribute.value);
    }
    size_t mark = begin_attribute(to, WIRE_HEADERS);
    restore_headers(headers, queue, to);
    end_attribute(to, mark);
    /* An empty table that only our marks had made is taken away again. */
    if (!to->failed && to->size == mark)
        to->size = mark - WIRE_ATTRIBUTE_BYTES;
    return kind;
}

uint32_t letter_attempt(struct slice attributes, bool redelivered, uint32_t failed)
{
    struct slice headers;
    struct field count;
    uint32_t attempt = failed + (redelivered ? 2 : 1);
    if (redelivered && wire_find(attributes, WIRE_HEADERS, &headers) &&
        fields_find(headers, "x-delivery-count", &count) && count.kind == FIELD_INTEGER &&
        count.integer < INT32_MAX && count.integer + failed >= attempt)
        attempt = (uint32_t)count.integer + failed + 1;
    return attempt;
}
