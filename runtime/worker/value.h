/* Lua values as text, read raw: no metamethod of the script runs, nothing is allocated, nothing raises. For
 * errors, reasons and log lines, whose values the script chooses. */
#ifndef WORKER_VALUE_H
#define WORKER_VALUE_H

#include "worker/note.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

enum { VALUE_NUMBER_BYTES = 32 };

/* The number as Lua would print it, and whole numbers up to 2^53 with all digits. Returns its length. */
size_t value_format_number(double number, char text[VALUE_NUMBER_BYTES]);

/* A string's own text, a number's digits, nil, true, false; of other values "a table" and the like. `index`
 * must be absolute or valid at once; the value keeps its type. */
void value_append(struct note *note, lua_State *lua, int index);

/* The value with its type, for who gave a wrong one: 42 (a number), "maybe" (a string, cut), a table. */
void value_quote(struct note *note, lua_State *lua, int index);

/* A number of seconds, or a text such as "90s"; false where it is neither, or negative, or over 30 years. */
bool value_to_duration(lua_State *lua, int index, int64_t *ret_ns);

#endif
