/* Lua values as text; see value.h. */
#include "worker/value.h"

#include "common/units.h"

#include <math.h>
#include <stdio.h>

enum { QUOTED_BYTES_MAX = 80 };

#define DURATION_SECONDS_MAX 1e9 /* as nanoseconds it fits an int64_t by far */

size_t value_format_number(double number, char text[VALUE_NUMBER_BYTES])
{
    bool whole = fabs(number) <= 9007199254740992.0 && number == floor(number);
    int size = snprintf(text, VALUE_NUMBER_BYTES, whole ? "%.0f" : "%.14g", number);
    return size > 0 ? (size_t)size : 0;
}

static void append_number(struct note *note, double number)
{
    char text[VALUE_NUMBER_BYTES];
    size_t size = value_format_number(number, text);
    note_append(note, (struct slice){ .data = text, .size = size });
}

void value_append(struct note *note, lua_State *lua, int index)
{
    struct slice text;
    switch (lua_type(lua, index)) {
    case LUA_TSTRING:
        text.data = lua_tolstring(lua, index, &text.size);
        note_append(note, text);
        break;
    case LUA_TNUMBER:
        append_number(note, lua_tonumber(lua, index));
        break;
    case LUA_TBOOLEAN:
        note_text(note, lua_toboolean(lua, index) ? "true" : "false");
        break;
    case LUA_TNIL:
    case LUA_TNONE:
        note_text(note, "nil");
        break;
    default:
        note_printf(note, "a %s", lua_typename(lua, lua_type(lua, index)));
    }
}

void value_quote(struct note *note, lua_State *lua, int index)
{
    struct slice text;
    if (lua_type(lua, index) == LUA_TSTRING) {
        text.data = lua_tolstring(lua, index, &text.size);
        text.size = text.size < QUOTED_BYTES_MAX ? text.size : QUOTED_BYTES_MAX;
        note_text(note, "\"");
        note_append(note, text);
        note_text(note, "\" (a string)");
        return;
    }
    value_append(note, lua, index);
    if (lua_type(lua, index) == LUA_TNUMBER)
        note_text(note, " (a number)");
}

bool value_to_duration(lua_State *lua, int index, int64_t *ret_ns)
{
    struct slice text;
    if (lua_type(lua, index) == LUA_TSTRING) {
        text.data = lua_tolstring(lua, index, &text.size);
        return units_parse_duration(text.data, text.size, ret_ns) &&
               *ret_ns <= (int64_t)(DURATION_SECONDS_MAX * 1e9);
    }
    double seconds = lua_type(lua, index) == LUA_TNUMBER ? lua_tonumber(lua, index) : -1;
    if (!(seconds >= 0 && seconds <= DURATION_SECONDS_MAX))
        return false;
    *ret_ns = (int64_t)(seconds * 1e9);
    return true;
}
