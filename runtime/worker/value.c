/* Lua values as text; see value.h. */
#include "worker/value.h"

#include <math.h>
#include <stdio.h>

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
