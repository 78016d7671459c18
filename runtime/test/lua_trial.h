/* Workers on trial (test/trial.h) as objects of trusted Lua: what scripts/test.lua and scripts/replay.lua
 * stand on. */
#ifndef TEST_LUA_TRIAL_H
#define TEST_LUA_TRIAL_H

#include <lua.h>

/* Pushes a table of functions:
 *
 *     open { handler =, file =, flags = { { name, value }, … }, environment = true } -> trial | nil, problems
 *     format_size(bytes)  format_duration(seconds)  parse_duration(text) -> seconds | nil
 *     from_base64(text) -> bytes | nil
 *     now() -> seconds    is_terminal() -> whether standard error is one
 *
 * `file` is a configuration file, in which the consumer of `handler` is looked for; the environment is heeded
 * only where it is asked for. A trial has these methods, which raise where the worker is closed or cannot go
 * on:
 *
 *     deliver(message) -> { verdict =, cause =, text =, settlement =, elapsed =, delay =, wait =, memory =,
 *                           logs =, published = }
 *     check(message): raises what is wrong with it
 *     retry_wait(attempt) -> { min =, max = } | nil
 *     recycle() -> { messages =, memory =, peak = }
 *     leaks() -> { { path =, kind =, sample =, text =, entries =, entries_per_message =, bytes =,
 *                    bytes_per_message = }, … }, { looks =, objects =, spent =, alive =, complete = }
 *     cache() -> functions of the module cache
 *     move_clock(seconds)
 *     logs(), published() -> what belongs to no message, since last asked
 *     write_logs(): into the program's log
 *     counts() -> { processes =, recycled = { reason = count }, logs_lost =, published_lost = }
 *     limits() -> { message =, attempts =, max_messages = }
 *     stop()
 *     close(): kills what is left
 */
void lua_trial_push(lua_State *lua);

#endif
