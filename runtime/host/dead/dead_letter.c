/* Reading dead letters; see dead_letter.h. */
#include "host/dead/dead_letter.h"

#include "common/fields.h"
#include "common/own_headers.h"
#include "common/siphash.h"
#include "common/wire.h"
#include "host/letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct slice nothing = { .data = "", .size = 0 };

static struct slice text_in(struct slice headers, const char *name)
{
    struct field field;
    return fields_find(headers, name, &field) && field.kind == FIELD_BYTES ? field.bytes : nothing;
}

/* Whole and not negative, or -1. */
static int64_t number_in(struct slice headers, const char *name)
{
    struct field field;
    if (!fields_find(headers, name, &field) ||
        (field.kind != FIELD_INTEGER && field.kind != FIELD_TIMESTAMP) || field.integer < 0)
        return -1;
    return field.integer;
}

static struct slice attribute_in(struct slice attributes, enum wire_attribute_id id)
{
    struct slice value = nothing;
    (void)wire_find(attributes, id, &value);
    return value;
}

static void read_marks(struct dead_letter *letter)
{
    struct slice headers = letter->headers;
    struct field mark;
    letter->by_host = true;
    letter->reason = text_in(headers, OWN_REASON);
    letter->error = text_in(headers, OWN_ERROR);
    letter->queue = text_in(headers, OWN_QUEUE);
    letter->exchange = text_in(headers, OWN_EXCHANGE);
    letter->routing_key = text_in(headers, OWN_ROUTING_KEY);
    letter->consumer = text_in(headers, OWN_CONSUMER);
    letter->host = text_in(headers, OWN_HOST);
    letter->attempts = number_in(headers, OWN_ATTEMPT);
    letter->died_at = number_in(headers, OWN_TIME);
    letter->cut_bytes = number_in(headers, OWN_BODY_BYTES);
    letter->bare = fields_find(headers, OWN_HEADERS_OUT, &mark);
}

/* The broker writes the latest death first. */
static bool find_death(struct slice headers, struct slice *ret_death)
{
    struct field deaths, death;
    if (!fields_find(headers, "x-death", &deaths) || deaths.kind != FIELD_ARRAY ||
        fields_next_value(&deaths.bytes, &death) != FIELDS_ONE || death.kind != FIELD_TABLE)
        return false;
    *ret_death = death.bytes;
    return true;
}

static struct slice first_routing_key(struct slice death)
{
    struct field keys, key;
    if (!fields_find(death, "routing-keys", &keys) || keys.kind != FIELD_ARRAY ||
        fields_next_value(&keys.bytes, &key) != FIELDS_ONE || key.kind != FIELD_BYTES)
        return nothing;
    return key.bytes;
}

static void read_death(struct dead_letter *letter)
{
    struct slice death;
    if (!find_death(letter->headers, &death))
        return;
    letter->reason = text_in(death, "reason");
    letter->queue = text_in(death, "queue");
    letter->exchange = text_in(death, "exchange");
    letter->routing_key = first_routing_key(death);
    letter->attempts = number_in(death, "count");
    letter->died_at = number_in(death, "time");
}

/* What stays the same from one look to the next tells it apart: the broker's own counts in the headers do
 * not. */
static void make_name(struct dead_letter *letter)
{
    uint64_t seed[2] = { letter->body_bytes, (uint64_t)letter->died_at };
    struct slice body = letter->body;
    if (body.size > DEAD_LETTER_NAMED_BODY)
        body.size = DEAD_LETTER_NAMED_BODY;
    seed[0] = siphash(seed, body);
    seed[0] = siphash(seed, letter->queue);
    int size = snprintf(letter->name, sizeof letter->name, "#%012" PRIx64,
                        siphash(seed, letter->routing_key) & UINT64_C(0xffffffffffff));
    letter->id = (struct slice){ .data = letter->name, .size = size > 0 ? (size_t)size : 0 };
}

void dead_letter_read(struct dead_letter *letter, struct slice attributes, struct slice body,
                      uint64_t body_bytes)
{
    *letter = (struct dead_letter){
        .attempts = -1,
        .died_at = -1,
        .cut_bytes = -1,
        .reason = nothing,
        .error = nothing,
        .queue = nothing,
        .exchange = nothing,
        .routing_key = nothing,
        .consumer = nothing,
        .host = nothing,
        .body_bytes = body_bytes,
        .body = body,
        .attributes = attributes,
        .headers = attribute_in(attributes, WIRE_HEADERS),
    };
    if (text_in(letter->headers, OWN_REASON).size > 0)
        read_marks(letter);
    else
        read_death(letter);
    letter->id = attribute_in(attributes, WIRE_MESSAGE_ID);
    if (letter->id.size == 0)
        make_name(letter);
}

static const struct {
    const char *name;
    enum wire_attribute_id id;
    size_t number_bytes; /* 0: it is a text */
} properties[] = {
    { "message_id", WIRE_MESSAGE_ID, 0 },
    { "content_type", WIRE_CONTENT_TYPE, 0 },
    { "content_encoding", WIRE_CONTENT_ENCODING, 0 },
    { "delivery_mode", WIRE_DELIVERY_MODE, sizeof(uint8_t) },
    { "priority", WIRE_PRIORITY, sizeof(uint8_t) },
    { "correlation_id", WIRE_CORRELATION_ID, 0 },
    { "reply_to", WIRE_REPLY_TO, 0 },
    { "expiration", WIRE_EXPIRATION, 0 },
    { "timestamp", WIRE_TIMESTAMP, sizeof(uint64_t) },
    { "type", WIRE_MESSAGE_TYPE, 0 },
    { "user_id", WIRE_USER_ID, 0 },
    { "app_id", WIRE_APP_ID, 0 },
    { "cluster_id", WIRE_CLUSTER_ID, 0 },
};
_Static_assert(sizeof properties / sizeof properties[0] == DEAD_LETTER_PROPERTIES, "count them");

bool dead_letter_property(struct slice attributes, size_t place, struct dead_letter_property *ret_property)
{
    struct slice value;
    if (!wire_find(attributes, properties[place].id, &value))
        return false;
    *ret_property = (struct dead_letter_property){ .name = properties[place].name, .text = value };
    if (properties[place].number_bytes == sizeof(uint8_t))
        ret_property->number = (unsigned char)value.data[0];
    else if (properties[place].number_bytes == sizeof(uint64_t))
        memcpy(&ret_property->number, value.data, sizeof ret_property->number);
    ret_property->is_number = properties[place].number_bytes > 0;
    return !ret_property->is_number || value.size == properties[place].number_bytes;
}

bool dead_letter_write_back(const struct dead_letter *letter, struct buffer *to, const char **ret_why)
{
    const struct letter_origin origin = { .queue = letter->queue,
                                          .exchange = letter->exchange,
                                          .routing_key = letter->routing_key,
                                          .by_broker = !letter->by_host };
    *ret_why = NULL;
    if (letter->queue.size == 0)
        *ret_why = "it does not say which queue it came from";
    else if (letter->queue.size > WIRE_NAME_MAX)
        *ret_why = "the queue that it came from has no name that can be";
    else if (letter->bare)
        *ret_why = "its headers were too large for a dead letter, and were left out";
    else if (letter->cut_bytes >= 0)
        *ret_why = "its body was too large for limits.message, and was left out";
    if (*ret_why)
        return false;
    letter_write_back(&origin, letter->attributes, to);
    if (to->failed)
        *ret_why = "there is no memory for its properties";
    return !to->failed;
}
