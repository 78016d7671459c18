/* Finding passwords in URLs, right or wrong; see redact.h. */
#include "common/redact.h"

#include <ctype.h>
#include <string.h>

static const char *end_of(struct slice slice)
{
    return slice.data + slice.size;
}

static const char *find(struct slice slice, const char *text)
{
    return memmem(slice.data, slice.size, text, strlen(text));
}

static struct slice between(const char *start, const char *end)
{
    return (struct slice){ .data = start, .size = (size_t)(end - start) };
}

/* How many bytes there are before the first of `stops`. */
static size_t length_until(struct slice slice, const char *stops)
{
    size_t i = 0;
    while (i < slice.size && !strchr(stops, slice.data[i]))
        i++;
    return i;
}

/* Where the next URL of a list begins, so that "amqp://a:1,amqp://b:2" is two and not one. */
static const char *next_of_list(struct slice rest)
{
    const char *plain = find(rest, "amqp://");
    const char *tls = find(rest, "amqps://");
    if (!plain || (tls && tls < plain))
        plain = tls;
    return plain ? plain : end_of(rest);
}

/* A text without blanks and "://" that has an '@' is taken for a URL whose scheme was forgotten. */
static bool lacks_scheme(struct slice text)
{
    return memchr(text.data, '@', text.size) && length_until(text, " \t\n") == text.size;
}

/* The next stretch that may hold one password: what follows "://". */
static bool next_region(struct slice *rest, struct slice *ret_region)
{
    if (rest->size == 0)
        return false;
    const char *scheme = find(*rest, "://");
    if (!scheme && !lacks_scheme(*rest))
        return false;
    struct slice after = scheme ? between(scheme + strlen("://"), end_of(*rest)) : *rest;
    const char *next = next_of_list(after);
    *ret_region = between(after.data, next);
    while (ret_region->size > 0 && strchr(", ", end_of(*ret_region)[-1]))
        ret_region->size--;
    *rest = between(next, end_of(*rest));
    return true;
}

static bool all_digits(struct slice slice)
{
    for (size_t i = 0; i < slice.size; i++) {
        if (!isdigit((unsigned char)slice.data[i]))
            return false;
    }
    return true;
}

/* "guest:secret" without a host: what should be a port is no number. */
static bool password_for_port(struct slice region, struct slice *ret_password)
{
    struct slice authority = between(region.data, region.data + length_until(region, "/?#'\" \t\n"));
    const char *address = memrchr(authority.data, ']', authority.size);
    const char *from = address ? address : authority.data;
    const char *colon = memchr(from, ':', (size_t)(end_of(authority) - from));
    if (!colon || all_digits(between(colon + 1, end_of(authority))))
        return false;
    *ret_password = between(colon + 1, end_of(region));
    return true;
}

static bool password_in(struct slice region, struct slice *ret_password)
{
    const char *at = memrchr(region.data, '@', region.size);
    if (!at)
        return password_for_port(region, ret_password);
    const char *colon = memchr(region.data, ':', (size_t)(at - region.data));
    if (!colon || colon + 1 == at)
        return false;
    *ret_password = between(colon + 1, at);
    return true;
}

bool redact_next(struct slice *rest, struct slice *ret_password)
{
    struct slice region;
    while (next_region(rest, &region)) {
        if (password_in(region, ret_password))
            return true;
    }
    return false;
}

bool redact_append(struct buffer *buffer, struct slice text)
{
    struct slice rest = text;
    struct slice password;
    const char *shown = text.data;
    while (redact_next(&rest, &password)) {
        if (!buffer_append(buffer, shown, (size_t)(password.data - shown)) ||
            !buffer_append_text(buffer, "***"))
            return false;
        shown = end_of(password);
    }
    return buffer_append(buffer, shown, (size_t)(end_of(text) - shown));
}

void redact_overwrite(char *text)
{
    struct slice rest = slice_of(text);
    struct slice password;
    while (redact_next(&rest, &password))
        memset(text + (password.data - text), '*', password.size);
}
