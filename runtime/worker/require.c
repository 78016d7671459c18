/* Loading modules from the script's folder; see require.h. */
#include "worker/require.h"

#include "worker/script.h"
#include "worker/state.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

enum { NAME_BYTES_MAX = 200 };

/* Parts of letters, digits, _ and -, with one dot between: nothing that could leave the folder. */
static bool is_module_name(struct slice name)
{
    bool part_begun = false;
    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c != '.' && !isalnum(c) && c != '_' && c != '-')
            return false;
        if (c == '.' && !part_begun)
            return false;
        part_begun = c != '.';
    }
    return part_begun && name.size <= NAME_BYTES_MAX;
}

static void write_path(char path[NAME_BYTES_MAX + 16], struct slice name, const char *ending)
{
    (void)snprintf(path, NAME_BYTES_MAX + 16, "%.*s%s", (int)name.size, name.data, ending);
    for (size_t i = 0; i < name.size; i++) {
        if (path[i] == '.')
            path[i] = '/';
    }
}

/* -> chunk, or nil and what is wrong with the file; pushes nothing where there is no such file */
static int load_file(struct state *state, lua_State *lua, const char *path)
{
    struct buffer content;
    struct error error;
    int pushed = 0;
    switch (folder_read(&state->assignment->folder, path, &content, &error)) {
    case FOLDER_READ:
        pushed = script_compile(state, lua, path, &content) ? 1 : 2;
        break;
    case FOLDER_REFUSED:
        buffer_clear(&content);
        lua_pushnil(lua);
        lua_pushstring(lua, error.text);
        pushed = 2;
        break;
    case FOLDER_MISSING:
        break;
    }
    buffer_clear(&content);
    return pushed;
}

int require_load_module(lua_State *lua)
{
    static const char *const endings[] = { ".lua", "/init.lua" };
    struct state *state = state_of(lua);
    struct slice name;
    char path[NAME_BYTES_MAX + 16];
    name.data = luaL_checklstring(lua, 1, &name.size);
    if (!is_module_name(name)) {
        lua_pushnil(lua);
        lua_pushliteral(lua, "a module's name is made of letters, digits, _ and -, with dots between");
        return 2;
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        write_path(path, name, endings[i]);
        int pushed = load_file(state, lua, path);
        if (pushed)
            return pushed;
    }
    lua_pushnil(lua);
    write_path(path, name, "");
    lua_pushfstring(lua, "there is neither %s%s.lua nor %s%s/init.lua", state->assignment->folder.prefix,
                    path, state->assignment->folder.prefix, path);
    lua_pushboolean(lua, true);
    return 3;
}
