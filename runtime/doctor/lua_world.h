/* The world as the doctor's scripts see it: functions that look, and change nothing. What they find is judged
 * in Lua (scripts/doctor*.lua). */
#ifndef DOCTOR_LUA_WORLD_H
#define DOCTOR_LUA_WORLD_H

#include "common/error.h"
#include "doctor/http.h"
#include "host/config.h"
#include "host/session.h"

#include <stdbool.h>

#include <lua.h>

/* All borrowed but for what it opened. */
struct world {
    const struct config *config;
    const char *fail_on;
    bool json;
    bool connected;
    struct session session; /* while connected */
    struct http *http;      /* NULL: not asked yet */
};

void world_init(struct world *world, const struct config *config, bool json, const char *fail_on);
void world_clear(struct world *world);

/* Pushes the one argument of the script: { json =, fail_on =, config =, world = { functions } }. `world` must
 * outlive the state. */
int world_push(lua_State *lua, void *world);

#endif
