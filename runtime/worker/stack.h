/* The native stack that Lua runs on. Recursion through C (callbacks of gsub and sort, coroutines inside
 * coroutines) is bounded by Lua's own stack, at some 45 MiB of this one, except through coroutines, each of
 * which has a stack of its own. So the quota looks how deep this one is, whenever memory is taken and
 * whenever a coroutine is entered (quota.h). The bound is far above what honest scripts nest, and below where
 * so many coroutines keep the collector busy for seconds. */
#ifndef WORKER_STACK_H
#define WORKER_STACK_H

/* Addresses: the stack grows down to them. NULL: unknown, and not looked at. */
struct stack_room {
    const char
        *trip_below; /* the message is over; what lies under it is enough for one coroutine's recursion */
    const char
        *refuse_below; /* for compiled code, which a trip does not reach: no memory is given any more */
};

/* Lets the process's stack grow as far as the system has left room for it; nothing is touched. */
struct stack_room stack_reserve(void);

#endif
