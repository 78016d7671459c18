/* The page of a dead letter; see show.h. */
#include "host/dead/show.h"

#include "common/own_headers.h"
#include "common/units.h"
#include "host/dead/text.h"
#include "host/json_fields.h"

#include <inttypes.h>
#include <string.h>

enum { LABEL_WIDTH = 18 };

static void put_label(struct buffer *to, const char *indent, struct slice label)
{
    size_t start = to->size;
    (void)buffer_append_text(to, indent);
    text_put(to, label, false);
    size_t width = to->failed ? 0 : text_width((struct slice){ to->data + start, to->size - start });
    (void)buffer_printf(to, "%*s", width < LABEL_WIDTH ? (int)(LABEL_WIDTH - width) : 1, "");
}

/* Further lines of a text stand below its first. */
static void put_lines(struct buffer *to, struct slice text)
{
    while (text.size > 0) {
        struct slice line = text_first_line(text);
        text_put(to, line, true);
        size_t taken = line.size < text.size ? line.size + 1 : line.size;
        text.data += taken;
        text.size -= taken;
        (void)buffer_append_text(to, "\n");
        if (text.size > 0)
            (void)buffer_printf(to, "%*s", LABEL_WIDTH, "");
    }
}

/* What nobody knows is left out. */
static void put_text(struct buffer *to, const char *label, struct slice text)
{
    if (text.size == 0)
        return;
    put_label(to, "", slice_of(label));
    put_lines(to, text);
}

static void put_origin(struct buffer *to, const struct dead_letter *letter)
{
    put_text(to, "queue", letter->queue);
    if (letter->queue.size == 0)
        return;
    put_text(to, "exchange", letter->exchange.size > 0 ? letter->exchange : slice_of("(default)"));
    put_text(to, "routing key", letter->routing_key);
}

static void put_death(struct buffer *to, const struct dead_letter *letter, int64_t now)
{
    put_text(to, "reason", letter->reason);
    put_text(to, "error", letter->error);
    if (letter->attempts >= 0) {
        put_label(to, "", slice_of("attempts"));
        (void)buffer_printf(to, "%" PRId64 "\n", letter->attempts);
    }
    if (letter->died_at < 0)
        return;
    put_label(to, "", slice_of("died"));
    text_put_time(to, letter->died_at);
    (void)buffer_append_text(to, " (");
    text_put_age(to, now > letter->died_at ? now - letter->died_at : 0);
    (void)buffer_append_text(to, " ago)\n");
}

static void put_properties(struct buffer *to, const struct dead_letter *letter)
{
    bool any = false;
    for (size_t i = 0; i < DEAD_LETTER_PROPERTIES; i++) {
        struct dead_letter_property property;
        if (!dead_letter_property(letter->attributes, i, &property))
            continue;
        if (!any)
            (void)buffer_append_text(to, "properties\n");
        any = true;
        put_label(to, "  ", slice_of(property.name));
        if (property.is_number)
            (void)buffer_printf(to, "%" PRIu64, property.number);
        else
            text_put(to, property.text, false);
        (void)buffer_append_text(to, "\n");
    }
}

/* These are told above, in words. */
static bool is_told(const struct dead_letter *letter, struct slice name)
{
    static const char *const told[] = { OWN_REASON,   OWN_ERROR, OWN_QUEUE,   OWN_EXCHANGE, OWN_ROUTING_KEY,
                                        OWN_CONSUMER, OWN_HOST,  OWN_ATTEMPT, OWN_TIME,     OWN_BODY_BYTES };
    for (size_t i = 0; letter->by_host && i < sizeof told / sizeof told[0]; i++) {
        if (slice_equals(name, told[i]))
            return true;
    }
    return false;
}

static void put_headers(struct buffer *to, const struct dead_letter *letter)
{
    struct slice rest = letter->headers, name;
    struct field field;
    bool any = false;
    while (fields_next_entry(&rest, &name, &field) == FIELDS_ONE) {
        if (is_told(letter, name))
            continue;
        if (!any)
            (void)buffer_append_text(to, "headers\n");
        any = true;
        put_label(to, "  ", name);
        json_fields_put(to, &field);
        (void)buffer_append_text(to, "\n");
    }
}

static void put_body(struct buffer *to, const struct dead_letter *letter)
{
    struct slice body = letter->body;
    char size[UNITS_TEXT_MAX];
    if (letter->cut_bytes >= 0) {
        (void)buffer_printf(to, "body: %s, %sleft out\n", units_format_size(letter->cut_bytes, size),
                            letter->bare ? "" : "too large for limits.message, ");
        return;
    }
    (void)buffer_printf(to, "body: %s", units_format_size((int64_t)letter->body_bytes, size));
    if (body.size > SHOW_BODY_MAX)
        body.size = SHOW_BODY_MAX;
    if (body.size < letter->body_bytes)
        (void)buffer_printf(to, ", the first %s; --body prints it whole",
                            units_format_size(SHOW_BODY_MAX, size));
    (void)buffer_append_text(to, "\n");
    text_put(to, body, true);
    if (body.size > 0 && body.data[body.size - 1] != '\n')
        (void)buffer_append_text(to, "\n");
}

void show_put_letter(struct buffer *to, const struct dead_letter *letter, int64_t now)
{
    put_text(to, "id", letter->id);
    put_death(to, letter, now);
    put_origin(to, letter);
    put_text(to, "consumer", letter->consumer);
    put_text(to, "host", letter->host);
    put_properties(to, letter);
    put_headers(to, letter);
    put_body(to, letter);
}
