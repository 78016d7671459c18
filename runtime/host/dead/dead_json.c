/* Writing dead letters as JSON; see dead_json.h. */
#include "host/dead/dead_json.h"

#include "common/utf8.h"
#include "host/dead/text.h"
#include "host/json.h"
#include "host/json_fields.h"

#include <inttypes.h>
#include <stdint.h>

/* What nobody knows is left out. */
static void put_known_text(struct buffer *to, const char *name, struct slice text)
{
    if (text.size > 0)
        json_slice(to, name, text);
}

static void put_known_number(struct buffer *to, const char *name, int64_t number)
{
    if (number < 0)
        return;
    json_name(to, name);
    (void)buffer_printf(to, "%" PRId64, number);
}

static void put_died_at(struct buffer *to, int64_t seconds)
{
    if (seconds < 0)
        return;
    json_name(to, "died_at");
    (void)buffer_append_text(to, "\"");
    text_put_time(to, seconds);
    (void)buffer_append_text(to, "\"");
}

static void put_properties(struct buffer *to, struct slice attributes)
{
    json_name(to, "properties");
    (void)buffer_append_text(to, "{");
    for (size_t i = 0; i < DEAD_LETTER_PROPERTIES; i++) {
        struct dead_letter_property property;
        if (!dead_letter_property(attributes, i, &property))
            continue;
        if (property.is_number)
            put_known_number(to, property.name, (int64_t)property.number);
        else
            json_slice(to, property.name, property.text);
    }
    (void)buffer_append_text(to, "}");
}

static void put_content(struct buffer *to, const struct dead_letter *letter)
{
    put_properties(to, letter->attributes);
    json_name(to, "headers");
    json_fields_put_table(to, letter->headers);
    if (utf8_is_valid(letter->body)) {
        json_slice(to, "body", letter->body);
        return;
    }
    json_name(to, "body_base64");
    json_put_base64(to, letter->body);
}

void dead_json_put(struct buffer *to, const struct dead_letter *letter, bool whole)
{
    (void)buffer_append_text(to, "{");
    json_slice(to, "id", letter->id);
    put_known_text(to, "reason", letter->reason);
    put_known_text(to, "error", letter->error);
    put_known_number(to, "attempts", letter->attempts);
    put_died_at(to, letter->died_at);
    put_known_text(to, "queue", letter->queue);
    if (letter->queue.size > 0) {
        json_slice(to, "exchange", letter->exchange);
        json_slice(to, "routing_key", letter->routing_key);
    }
    put_known_text(to, "consumer", letter->consumer);
    put_known_text(to, "host", letter->host);
    put_known_number(to, "bytes", (int64_t)letter->body_bytes);
    put_known_number(to, "left_out_bytes", letter->cut_bytes);
    if (whole)
        put_content(to, letter);
    (void)buffer_append_text(to, "}\n");
}
