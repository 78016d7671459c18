/* Whether bytes are one JSON value, strictly as RFC 8259 has it, in valid UTF-8: a judge for what the program
 * writes, which shares no code with it. */
#ifndef SPEC_UNIT_JSON_H
#define SPEC_UNIT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct json {
    const char *at; /* ends with a NUL, which no value holds */
};

static inline bool json_take(struct json *json, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(json->at, word, size) != 0)
        return false;
    json->at += size;
    return true;
}

static inline bool json_digits(struct json *json, const char *digits, size_t least)
{
    size_t count = strspn(json->at, digits);
    json->at += count;
    return count >= least;
}

static inline bool json_number(struct json *json)
{
    const char *decimal = "0123456789";
    (void)json_take(json, "-");
    if (!json_take(json, "0") && !json_digits(json, decimal, 1))
        return false;
    if (json_take(json, ".") && !json_digits(json, decimal, 1))
        return false;
    if (*json->at != 'e' && *json->at != 'E')
        return true;
    json->at++;
    if (!json_take(json, "+"))
        (void)json_take(json, "-");
    return json_digits(json, decimal, 1);
}

/* One character of UTF-8 by the table of RFC 3629. */
static inline bool json_character(struct json *json)
{
    static const struct {
        unsigned char lead[2], second[2];
        size_t length;
    } rows[] = {
        { { 0x20, 0x7f }, { 0, 0 }, 1 },       { { 0xc2, 0xdf }, { 0x80, 0xbf }, 2 },
        { { 0xe0, 0xe0 }, { 0xa0, 0xbf }, 3 }, { { 0xe1, 0xec }, { 0x80, 0xbf }, 3 },
        { { 0xed, 0xed }, { 0x80, 0x9f }, 3 }, { { 0xee, 0xef }, { 0x80, 0xbf }, 3 },
        { { 0xf0, 0xf0 }, { 0x90, 0xbf }, 4 }, { { 0xf1, 0xf3 }, { 0x80, 0xbf }, 4 },
        { { 0xf4, 0xf4 }, { 0x80, 0x8f }, 4 },
    };
    const unsigned char *text = (const unsigned char *)json->at;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (text[0] < rows[i].lead[0] || text[0] > rows[i].lead[1])
            continue;
        if (rows[i].length > 1 && (text[1] < rows[i].second[0] || text[1] > rows[i].second[1]))
            return false;
        for (size_t more = 2; more < rows[i].length; more++) {
            if ((text[more] & 0xc0) != 0x80)
                return false;
        }
        json->at += rows[i].length;
        return true;
    }
    return false;
}

static inline bool json_escape(struct json *json)
{
    const char *hexadecimal = "0123456789abcdefABCDEF";
    if (json_take(json, "u")) {
        bool four = strspn(json->at, hexadecimal) >= 4;
        json->at += four ? 4 : 0;
        return four;
    }
    bool known = *json->at && strchr("\"\\/bfnrt", *json->at);
    json->at += known;
    return known;
}

static inline bool json_string(struct json *json)
{
    if (!json_take(json, "\""))
        return false;
    while (*json->at != '"') {
        if (json_take(json, "\\") ? !json_escape(json) : !json_character(json))
            return false;
    }
    json->at++;
    return true;
}

/* A string, a number, true, false or null. */
static inline bool json_scalar(struct json *json)
{
    return json_take(json, "true") || json_take(json, "false") || json_take(json, "null") ||
           (*json->at == '"' ? json_string(json) : json_number(json));
}

/* Any value, to a depth that no test exceeds. */
static inline bool json_nested(struct json *json, int depth)
{
    bool object = json_take(json, "{");
    if (!object && !json_take(json, "["))
        return json_scalar(json);
    const char *end = object ? "}" : "]";
    if (depth == 0 || json_take(json, end))
        return depth > 0;
    do {
        if (object && !(json_string(json) && json_take(json, ":")))
            return false;
        if (!json_nested(json, depth - 1))
            return false;
    } while (json_take(json, ","));
    return json_take(json, end);
}

/* One value and nothing behind it. `text` ends with a NUL after `size` bytes. */
static inline bool json_is_value(const char *text, size_t size)
{
    struct json json = { .at = text };
    return json_nested(&json, 16) && json.at == text + size;
}

/* An object of scalars and nothing behind it. `text` ends with a NUL after `size` bytes. */
static inline bool json_is_flat_object(const char *text, size_t size)
{
    struct json json = { .at = text };
    if (!json_take(&json, "{"))
        return false;
    do {
        if (!json_string(&json) || !json_take(&json, ":") || !json_scalar(&json))
            return false;
    } while (json_take(&json, ","));
    return json_take(&json, "}") && json.at == text + size;
}

#endif
