/* Choosing among dead letters; see filter.h. */
#include "host/dead/filter.h"

#include "common/clock.h"
#include "common/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum filter_field field;
} names[] = {
    { "id", FILTER_ID },
    { "reason", FILTER_REASON },
    { "error", FILTER_ERROR },
    { "queue", FILTER_QUEUE },
    { "exchange", FILTER_EXCHANGE },
    { "routing_key", FILTER_ROUTING_KEY },
    { "consumer", FILTER_CONSUMER },
    { "host", FILTER_HOST },
    { "attempts", FILTER_ATTEMPTS },
    { "older", FILTER_OLDER },
    { "newer", FILTER_NEWER },
};

static bool find_name(struct slice name, enum filter_field *ret_field)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_equals(name, names[i].name)) {
            *ret_field = names[i].field;
            return true;
        }
    }
    return false;
}

/* Takes "=", "!=" or "~" off the front. */
static bool take_test(const char **cursor, enum filter_test *ret_test)
{
    if (**cursor == '!' && (*cursor)[1] == '=') {
        *ret_test = FILTER_IS_NOT;
        *cursor += 2;
        return true;
    }
    if (**cursor != '=' && **cursor != '~')
        return false;
    *ret_test = **cursor == '=' ? FILTER_IS : FILTER_CONTAINS;
    *cursor += 1;
    return true;
}

static bool parse_attempts(struct filter *filter)
{
    char *end;
    errno = 0;
    long number = strtol(filter->text, &end, 10);
    filter->number = number;
    return isdigit((unsigned char)*filter->text) && *end == '\0' && errno == 0;
}

static bool parse_age(struct filter *filter)
{
    int64_t ns;
    if (filter->test != FILTER_IS || !units_parse_duration(filter->text, strlen(filter->text), &ns))
        return false;
    filter->number = ns / CLOCK_NS_PER_SECOND;
    return true;
}

static bool parse_value(struct filter *filter)
{
    switch (filter->field) {
    case FILTER_ATTEMPTS:
        return filter->test != FILTER_CONTAINS && parse_attempts(filter);
    case FILTER_OLDER:
    case FILTER_NEWER:
        return parse_age(filter);
    default:
        return true;
    }
}

bool filter_parse(struct filter *filter, const char *text, struct error *error)
{
    const char *cursor = text + strspn(text, "abcdefghijklmnopqrstuvwxyz_");
    const struct slice name = { .data = text, .size = (size_t)(cursor - text) };
    struct filter parsed = { .number = 0 };
    if (!find_name(name, &parsed.field) || !take_test(&cursor, &parsed.test))
        return error_set(
            error, ERROR_USAGE,
            "--where is \"%s\": give NAME=TEXT, NAME!=TEXT or NAME~PART, where NAME is id, reason, "
            "error, queue, exchange, routing_key, consumer, host or attempts; or older=TIME, "
            "newer=TIME",
            text);
    parsed.text = cursor;
    if (!parse_value(&parsed))
        return error_set(error, ERROR_USAGE, "--where is \"%s\": %s", text,
                         parsed.field == FILTER_ATTEMPTS ? "give a whole number, such as attempts=5"
                                                         : "give a time, such as older=1h");
    *filter = parsed;
    return true;
}

static struct slice text_of(const struct dead_letter *letter, enum filter_field field)
{
    switch (field) {
    case FILTER_ID:
        return letter->id;
    case FILTER_REASON:
        return letter->reason;
    case FILTER_ERROR:
        return letter->error;
    case FILTER_QUEUE:
        return letter->queue;
    case FILTER_EXCHANGE:
        return letter->exchange;
    case FILTER_ROUTING_KEY:
        return letter->routing_key;
    case FILTER_CONSUMER:
        return letter->consumer;
    default:
        return letter->host;
    }
}

static bool text_matches(const struct filter *filter, struct slice text)
{
    switch (filter->test) {
    case FILTER_IS:
        return slice_equals(text, filter->text);
    case FILTER_IS_NOT:
        return !slice_equals(text, filter->text);
    case FILTER_CONTAINS:
    default:
        return memmem(text.data, text.size, filter->text, strlen(filter->text)) != NULL;
    }
}

bool filter_matches(const struct filter *filter, const struct dead_letter *letter, int64_t now)
{
    switch (filter->field) {
    case FILTER_ATTEMPTS:
        return (letter->attempts == filter->number) == (filter->test == FILTER_IS);
    case FILTER_OLDER:
        return letter->died_at >= 0 && now - letter->died_at > filter->number;
    case FILTER_NEWER:
        return letter->died_at >= 0 && now - letter->died_at <= filter->number;
    default:
        return text_matches(filter, text_of(letter, filter->field));
    }
}
