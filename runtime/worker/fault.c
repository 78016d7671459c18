/* Errors in words; see fault.h. */
#include "worker/fault.h"

#include "worker/value.h"

enum { TRACE_LEVELS_MAX = 16 }; /* a recursion that runs away repeats itself by then */

static bool append_field(struct note *note, lua_State *lua, int table, const char *name)
{
    lua_pushstring(lua, name);
    lua_rawget(lua, table < 0 ? table - 1 : table);
    bool is_text = lua_type(lua, -1) == LUA_TSTRING;
    if (is_text)
        value_append(note, lua, -1);
    lua_pop(lua, 1);
    return is_text;
}

void fault_describe(struct note *note, lua_State *lua, int index)
{
    switch (lua_type(lua, index)) {
    case LUA_TTABLE:
        if (append_field(note, lua, index, "message") || append_field(note, lua, index, "msg"))
            return;
        break;
    case LUA_TSTRING:
    case LUA_TNUMBER:
        value_append(note, lua, index);
        return;
    default:
        break;
    }
    note_text(note, "error value is ");
    value_append(note, lua, index);
}

static void trace_level(struct note *note, lua_State *lua, lua_Debug *level)
{
    if (!lua_getinfo(lua, "Snl", level))
        return;
    bool named = level->namewhat && *level->namewhat != '\0';
    bool script = level->currentline > 0;
    /* A C function without a name is this program's own, at the bottom. */
    if (!script && !named)
        return;
    note_text(note, "\n\t");
    if (script)
        note_printf(note, "%s:%d:", level->short_src, level->currentline);
    else
        note_text(note, "[C]:");
    if (named)
        note_printf(note, " in function '%s'", level->name);
    else if (*level->what == 'm')
        note_text(note, " in main chunk");
    else
        note_printf(note, " in function <%s:%d>", level->short_src, level->linedefined);
}

void fault_trace(struct note *note, lua_State *lua, int level)
{
    lua_Debug debug;
    note_text(note, "\nstack traceback:");
    for (int end = level + TRACE_LEVELS_MAX; lua_getstack(lua, level, &debug); level++) {
        if (level == end) {
            note_text(note, "\n\t...");
            return;
        }
        trace_level(note, lua, &debug);
    }
}
