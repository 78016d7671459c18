/* What a handler waits for: time, or a client's answer; and the loop on which the worker does.
 *
 * A function for scripts that waits has three parts (scripts/sandbox.lua puts them together). It begins: a C
 * function of the client checks its arguments and calls wait_begin. It pauses: where the message has a
 * coroutine of its own, that yields and other messages run; else the loop runs right here, until the wait is
 * over or the deadline is. It ends: the client pushes its results. In between nothing of the wait is in Lua,
 * so a message that is dropped meanwhile leaves nothing behind but what `drop` lets go of.
 *
 * One message has one wait at a time. A client's callbacks run in the loop and touch no Lua: they keep what
 * came and call wait_finish. */
#ifndef WORKER_WAIT_H
#define WORKER_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>
#include <lua.h>

struct state;
struct wait;

/* A client, and what it does for a wait of its kind. */
struct wait_kind {
    const char *name;                               /* of the function, for people */
    int (*push)(struct wait *wait, lua_State *lua); /* -> results; the wait is over. May raise */
    void (*drop)(struct wait *wait);                /* nobody waits any more; NULL: there is nothing to do */
};

struct wait {
    const struct wait_kind *kind; /* NULL: nothing is waited for */
    void *data;                   /* the client's own */
    int64_t until_ns;             /* when it is over by itself; INT64_MAX: the client says when */
    bool over;
    ev_timer timer;
    void (*on_over)(struct wait *wait); /* NULL: who waits looks himself */
};

/* The loop of the process, made when it is first needed. */
struct waits {
    struct ev_loop *loop;
};

/* NULL where there is no memory. It is a loop on poll(2), which a worker may call anyway. */
struct ev_loop *waits_loop(struct waits *waits);
void waits_close(struct waits *waits);

/* Begins a wait of what is at hand in the state. */
struct wait *wait_begin(struct state *state, const struct wait_kind *kind, void *data, int64_t until_ns);

/* The client has its answer. */
void wait_finish(struct wait *wait);

/* Sets the timer for the time at which the wait has to be looked at again. */
void wait_watch(struct wait *wait, struct ev_loop *loop, int64_t at_ns);

/* Forgets the wait, if there is one. */
void wait_drop(struct wait *wait, struct ev_loop *loop);

/* Puts the functions into the table on top of the stack that scripts/sandbox.lua calls `host`: wait_mark,
 * pause, end_wait, cancel_wait, sleep. May raise. */
void wait_push_functions(struct state *state, lua_State *lua);

/* What a coroutine yields that waits, and what it is resumed with where it yielded without waiting. */
void wait_push_mark(lua_State *lua);

#endif
