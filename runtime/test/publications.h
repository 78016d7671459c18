/* What a handler published, as tables of trusted Lua. */
#ifndef TEST_PUBLICATIONS_H
#define TEST_PUBLICATIONS_H

#include "common/buffer.h"

#include <lua.h>

/* -> a list of { exchange =, routing_key =, body =, properties = { content_type =, headers =, … } }, one for
 * each publication of a parcel's content (host/parcel.h). Properties have the names by which handlers give
 * them; `expiration` is in milliseconds, as AMQP has it. Raises where headers nest too deep to read. */
void publications_push(lua_State *lua, const struct buffer *content);

#endif
