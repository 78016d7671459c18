/* The memory quota of a Lua state: what the worker keeps for all of them (home.h), small blocks in slabs
 * (slabs.h), large ones in pages of their own (large.h), and LuaJIT's own allocator, an arena for each state,
 * for those in between; with every byte counted that a block takes. What slabs hold beside their blocks is
 * bounded, too.
 *
 * The arena is that of a second, empty state: where it was needed, closing that one gives all of it back to
 * the system at once, and what the state has leaked is not walked through and freed piece by piece, which
 * took 30 ms for 50 MiB. So nothing in a state may want a finalizer when it is over (cjson's would only free
 * what goes anyway, cycle.h's would only count). And LuaJIT has to be a build with GC64, which is the
 * default: others give a state no allocator but their own.
 *
 * Past `limit` memory is still given, but the message is over (trip.h): scripts that catch a refusal and go
 * on can crash LuaJIT, an overdraft cannot. Refused is only what lies past `refuse_at`, for what a hook does
 * not reach. What is held for the state outside of it is charged to it too: the message at hand, and what
 * cjson allocates (see json_memory.h). Machine code is bounded by itself (scripts/sandbox.lua).
 *
 * LuaJIT collects by the ratio of heap to live heap, and knows of no limit: the pace is set so that a cycle
 * ends before the limit is reached, and so that a heap of which much lives is not walked through too often.
 * The allocator is also where deep recursion through C is noticed, since a coroutine or a frame of Lua's
 * stack costs memory at some point; coroutines that have their memory already are noticed where they are
 * entered (sandbox.c). */
#ifndef WORKER_QUOTA_H
#define WORKER_QUOTA_H

#include "worker/home.h"
#include "worker/large.h"
#include "worker/slabs.h"
#include "worker/stack.h"
#include "worker/trip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

struct quota {
    struct trip *trip;
    struct home *home;
    bool complete;      /* the state has in it what every state has */
    size_t held_before; /* `used` before there was a state */
    lua_Alloc allocate;
    void *arena; /* of an empty state, that of home.h */
    bool arena_used;
    struct large large;
    struct slabs slabs;
    size_t used;
    size_t peak;
    size_t live;        /* `used` after the last full collection; 0 before the first */
    size_t after_cycle; /* `used` after the last cycle that was noticed (cycle.h), or full collection */
    size_t limit;       /* limits.memory; SIZE_MAX: none */
    size_t refuse_at;
    size_t watch;  /* `used` past this: look at the limit and the pace */
    size_t stride; /* how far that was away when it was set */
    struct stack_room stack;
    bool aside;         /* memory is taken that is not the script's: it is not measured by the limit */
    size_t aside_peak;  /* `peak` before that */
    lua_State *at_work; /* the coroutine that calls cjson: where its errors go; see json_memory.h */
};

/* A new state under this quota; NULL where there is no memory. It is `complete`, or has nothing in it: then
 * whoever opens it puts in what every state has, and says so by quota_complete. */
lua_State *quota_open_state(struct quota *quota, struct trip *trip, size_t limit_bytes,
                            struct stack_room stack, struct home *home);
void quota_complete(struct quota *quota);
void quota_close_state(struct quota *quota, lua_State *lua);

/* The quota of a state, from any coroutine of it. */
struct quota *quota_of(lua_State *lua);

/* A message of this size is at hand: charges it, after making room where much garbage is in the way. Past the
 * limit it trips. */
void quota_begin(struct quota *quota, size_t message_bytes);
void quota_end(struct quota *quota, size_t message_bytes);

/* For memory of the worker's own that a script fills (worker/outbox.h): so much more of it, which the quota
 * had room for (quota_room) or which ends the message; and so much less. */
void quota_charge(struct quota *quota, size_t bytes);
void quota_release(struct quota *quota, size_t bytes);
size_t quota_room(const struct quota *quota);

/* For memory on behalf of the state outside of Lua: as realloc, with the old size. NULL where it is refused.
 */
void *quota_reallocate(struct quota *quota, void *block, size_t old_bytes, size_t new_bytes);

/* The same without a quota: a block is put into its place, uncounted, and none is refused. For measuring what
 * counting costs, as the lua_Alloc of a state that was opened by this quota. */
void *quota_place(void *quota, void *block, size_t old_bytes, size_t new_bytes);

/* As quota_reallocate, for a new block that must not be refused; NULL only where the system has none. */
void *quota_allocate_anyway(struct quota *quota, size_t bytes);

/* Looks how deep the native stack is, and trips where it is too deep; false where it is so deep that there is
 * no memory for going on. */
bool quota_has_stack(struct quota *quota);

/* Between messages, around what the worker does in the state for itself: what it takes is never refused, and
 * is no part of the script's peak. It has to be garbage afterwards. */
void quota_set_aside(struct quota *quota, bool aside);

/* Small blocks of many sizes have come and gone, and each time some stayed in every slab: more is held than
 * what is counted, and more than `refuse_at`. The state is to be recycled. */
bool quota_is_scattered(const struct quota *quota);

/* LuaJIT is about to end a cycle: it takes the pace for the next one from here. */
void quota_cycle_ended(struct quota *quota);

/* Collects all garbage there is. Only between messages. */
void quota_collect(struct quota *quota);

#endif
