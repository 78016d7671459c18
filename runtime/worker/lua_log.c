/* The log module of handlers; see lua_log.h. */
#include "worker/lua_log.h"

#include "common/log.h"
#include "worker/value.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum {
    LEVEL = 2, /* upvalue; the first is the state */
    MESSAGE_BYTES_MAX = 2048,
    FIELDS_MAX = 16,
    KEY_BYTES_MAX = 64,
    VALUE_BYTES_MAX = 1024,
};

static const struct {
    const char *name;
    enum log_level level;
} functions[] = {
    { "debug", LOG_DEBUG },
    { "info", LOG_INFO },
    { "warn", LOG_WARNING },
    { "error", LOG_ERROR },
};

struct log_entry {
    char key[KEY_BYTES_MAX];
    size_t key_bytes;
    enum wire_attribute_id kind; /* WIRE_STRING or WIRE_LITERAL */
    struct slice value;          /* the script's string, a constant, or `digits` */
    char digits[VALUE_NUMBER_BYTES];
};

/* The fields with the smallest names so far, by name. One place more than is kept: for the next to come. */
struct log_entries {
    struct log_entry places[FIELDS_MAX + 1];
    struct log_entry *sorted[FIELDS_MAX + 1];
    size_t count;
};

/* What the host writes into each line: a second field of that name would be read instead of it. */
static bool is_taken(const struct log_entry *entry)
{
    static const char *const names[] = { "time", "level", "msg", "consumer", "worker" };
    const struct slice key = { .data = entry->key, .size = entry->key_bytes };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_equals(key, names[i]))
            return true;
    }
    return false;
}

static void set_key(struct log_entry *entry, struct slice key)
{
    entry->key_bytes = key.size < KEY_BYTES_MAX ? key.size : KEY_BYTES_MAX;
    for (size_t i = 0; i < entry->key_bytes; i++) {
        char c = key.data[i];
        bool plain = isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
        entry->key[i] = plain ? c : '_';
    }
    if (entry->key_bytes == 0 || is_taken(entry))
        entry->key[entry->key_bytes++] = '_';
}

static void set_number(struct log_entry *entry, double number)
{
    entry->value.size = value_format_number(number, entry->digits);
    entry->value.data = entry->digits;
    entry->kind = isfinite(number) ? WIRE_LITERAL : WIRE_STRING;
}

static void set_constant(struct log_entry *entry, enum wire_attribute_id kind, const char *text)
{
    entry->value = slice_of(text);
    entry->kind = kind;
}

static void set_value(struct log_entry *entry, lua_State *lua, int index)
{
    switch (lua_type(lua, index)) {
    case LUA_TNUMBER:
        set_number(entry, lua_tonumber(lua, index));
        break;
    case LUA_TBOOLEAN:
        set_constant(entry, WIRE_LITERAL, lua_toboolean(lua, index) ? "true" : "false");
        break;
    case LUA_TLIGHTUSERDATA: /* cjson.null; scripts meet no other */
        set_constant(entry, WIRE_LITERAL, "null");
        break;
    case LUA_TSTRING:
        entry->kind = WIRE_STRING;
        entry->value.data = lua_tolstring(lua, index, &entry->value.size);
        if (entry->value.size > VALUE_BYTES_MAX)
            entry->value.size = VALUE_BYTES_MAX;
        break;
    default:
        set_constant(entry, WIRE_STRING, lua_typename(lua, lua_type(lua, index)));
    }
}

static bool comes_before(const struct log_entry *a, const struct log_entry *b)
{
    size_t shorter = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    int order = memcmp(a->key, b->key, shorter);
    return order < 0 || (order == 0 && a->key_bytes < b->key_bytes);
}

/* Sorts in the entry that was filled at sorted[count]; one too many pushes out the last. */
static void sort_in(struct log_entries *entries)
{
    size_t i = entries->count;
    struct log_entry *entry = entries->sorted[i];
    for (; i > 0 && comes_before(entry, entries->sorted[i - 1]); i--)
        entries->sorted[i] = entries->sorted[i - 1];
    entries->sorted[i] = entry;
    if (entries->count < FIELDS_MAX)
        entries->count++;
}

/* Stack at the top: key, value. Keys that are neither string nor number have no name. */
static void collect_field(struct log_entries *entries, lua_State *lua)
{
    struct log_entry *entry = entries->sorted[entries->count];
    char digits[VALUE_NUMBER_BYTES];
    struct slice key = { .data = digits };
    switch (lua_type(lua, -2)) {
    case LUA_TSTRING:
        key.data = lua_tolstring(lua, -2, &key.size);
        break;
    case LUA_TNUMBER:
        key.size = value_format_number(lua_tonumber(lua, -2), digits);
        break;
    default:
        return;
    }
    set_key(entry, key);
    set_value(entry, lua, -1);
    sort_in(entries);
}

/* The fields in argument 2; anything but a table becomes one field. */
static void collect(struct log_entries *entries, lua_State *lua)
{
    entries->count = 0;
    for (size_t i = 0; i <= FIELDS_MAX; i++)
        entries->sorted[i] = &entries->places[i];
    if (lua_istable(lua, 2)) {
        lua_pushnil(lua);
        for (; lua_next(lua, 2); lua_pop(lua, 1))
            collect_field(entries, lua);
    } else if (!lua_isnoneornil(lua, 2)) {
        set_key(entries->sorted[0], slice_of("detail"));
        set_value(entries->sorted[0], lua, 2);
        sort_in(entries);
    }
}

static void send_line(struct link *link, enum log_level level, struct slice text,
                      const struct log_entries *entries)
{
    const struct wire_log line = { .level = (uint8_t)level };
    struct buffer *frame = link_begin(link, WIRE_LOG);
    wire_add_log(frame, &line);
    wire_add(frame, WIRE_TEXT, text);
    for (size_t i = 0; i < entries->count; i++) {
        const struct log_entry *entry = entries->sorted[i];
        wire_add(frame, WIRE_KEY, (struct slice){ .data = entry->key, .size = entry->key_bytes });
        wire_add(frame, entry->kind, entry->value);
    }
    link_end(link);
}

/* log.<level>(message [, fields]) */
static int log_line(lua_State *lua)
{
    struct state *state = state_of(lua);
    enum log_level level = (enum log_level)lua_tointeger(lua, lua_upvalueindex(LEVEL));
    if (level < state->assignment->limits.log_level)
        return 0;
    struct log_entries entries;
    struct note text;
    text.size = 0;
    lua_settop(lua, 2);
    value_append(&text, lua, 1);
    if (text.size > MESSAGE_BYTES_MAX)
        text.size = MESSAGE_BYTES_MAX;
    collect(&entries, lua);
    send_line(state->link, level, note_slice(&text), &entries);
    return 0;
}

void lua_log_push(struct state *state, lua_State *lua)
{
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        lua_pushlightuserdata(lua, state);
        lua_pushinteger(lua, functions[i].level);
        lua_pushcclosure(lua, log_line, LEVEL);
        lua_setfield(lua, -2, functions[i].name);
    }
}
