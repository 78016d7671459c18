/* The memory that a worker keeps from one Lua state to the next, so that a new state neither has to be opened
 * anew nor to ask the system for its first pages.
 *
 * The first state is opened in it. Then its bytes are kept, and every state after it begins as a copy of
 * them, in the same place, since there are pointers in them; they are from before the first line of any
 * script ran. What is left behind them holds blocks of the state at hand, in lists by their size. Larger
 * blocks, and all that has no room, are the state's own (quota.h); its arena is kept too where it was not
 * needed.
 *
 * Blocks that were given back are not joined: what was cut small stays small until the state's end. So it is
 * bounded, and whatever a script does, it wastes no more than that. */
#ifndef WORKER_HOME_H
#define WORKER_HOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

enum {
    HOME_BYTES = 3 * 1024 * 1024, /* of which a state touches what it needs */
    HOME_BLOCK_BYTES = 16,        /* blocks are multiples of it up to a page, */
    HOME_PAGE_BYTES = 4096,       /* and of pages up to so many */
    HOME_BLOCK_PAGES = 4,
    HOME_LISTS = HOME_PAGE_BYTES / HOME_BLOCK_BYTES + HOME_BLOCK_PAGES,
};

struct quota;
struct home_block;

struct home {
    char *memory; /* NULL before the first state, or where there is none */
    size_t size;
    size_t used;    /* behind it this state has taken nothing, */
    size_t touched; /* and no state before it behind this */
    bool opening;
    bool too_small; /* a block was not to be had: no copy would be whole */
    struct home_block *given_back[HOME_LISTS];
    lua_State *ground; /* an empty state whose arena nothing was taken from; NULL: none */
    char *copy;        /* read only; NULL before the first state was open */
    /* Valid with `copy`: */
    const struct quota *quota; /* the only one that the copied state knows */
    lua_State *lua;
    size_t copy_bytes;
    struct home_block *copy_given_back[HOME_LISTS];
    size_t held_bytes; /* as the quota counts them */
};

/* A size of 0 is none at all. Borrowed by quotas until it is cleared. */
void home_init(struct home *home, size_t size_bytes);
void home_clear(struct home *home);

/* An empty state, for its arena; NULL where there is no memory. It is closed with the state that used it. */
lua_State *home_ground(struct home *home);
void home_end(struct home *home, bool ground_used);

/* A state is about to be opened from nothing. */
void home_begin(struct home *home);
/* The state is open as every state begins, and holds so many bytes. */
void home_keep(struct home *home, const struct quota *quota, lua_State *lua, size_t held_bytes);
/* The state as it was kept, in the place of the last one; NULL where none was kept for this quota. */
lua_State *home_copy(struct home *home, const struct quota *quota);

/* NULL where there is no room for it here. */
void *home_take(struct home *home, size_t bytes);
/* A block that it holds, of this many bytes or more, from home_take. */
void home_give_back(struct home *home, void *block, size_t bytes);

static inline bool home_holds(const struct home *home, const void *block)
{
    return (uintptr_t)block - (uintptr_t)home->memory < home->size;
}

#endif
