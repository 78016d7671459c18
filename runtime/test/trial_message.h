/* A message as scripts write it, a table, turned into what goes to a worker: properties and headers as the
 * attributes of a WIRE_DELIVER. */
#ifndef TEST_TRIAL_MESSAGE_H
#define TEST_TRIAL_MESSAGE_H

#include "common/buffer.h"
#include "test/trial.h"

#include <lua.h>

/* Reads the table at `index`, whose fields are those of a handler's message but for `queue`; its body is a
 * string. `attributes` is written anew; *ret points into it and into the table's strings. Raises an error
 * that names the field which cannot be. */
void trial_message_read(lua_State *lua, int index, struct buffer *attributes, struct trial_message *ret);

#endif
