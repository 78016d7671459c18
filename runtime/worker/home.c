/* What a worker keeps from state to state; see home.h. */
#include "worker/home.h"

#include "common/untouchable.h"

#include <string.h>
#include <sys/mman.h>

#include <lauxlib.h>

/* What so much less was used than before goes back to the system. */
static const size_t slack_bytes = (size_t)1024 * 1024;

/* A block that nobody has. */
struct home_block {
    struct home_block *next;
};

void home_init(struct home *home, size_t size_bytes)
{
    *home = (struct home){ .size = size_bytes };
}

void home_clear(struct home *home)
{
    home_end(home, true);
    if (home->memory) {
        untouchable_end(home->memory, home->size);
        (void)munmap(home->memory, home->size);
    }
    if (home->copy)
        (void)munmap(home->copy, home->copy_bytes);
    *home = (struct home){ 0 };
}

lua_State *home_ground(struct home *home)
{
    if (!home->ground)
        home->ground = luaL_newstate();
    return home->ground;
}

void home_end(struct home *home, bool ground_used)
{
    if (!ground_used || !home->ground)
        return;
    lua_close(home->ground);
    home->ground = NULL;
}

static char *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void home_begin(struct home *home)
{
    if (!home->memory && home->size > 0)
        home->memory = map(home->size);
    if (!home->memory)
        home->size = 0;
    untouchable_set(home->memory, home->size);
    home->opening = home->size > 0;
    home->too_small = false;
    home->used = 0;
    memset(home->given_back, 0, sizeof home->given_back);
}

void home_keep(struct home *home, const struct quota *quota, lua_State *lua, size_t held_bytes)
{
    bool whole = home->opening && !home->too_small;
    home->opening = false;
    if (!whole || home->copy)
        return;
    home->copy = map(home->used);
    if (!home->copy)
        return;
    untouchable_end(home->memory, home->used); /* blocks that were given back are copied, too */
    memcpy(home->copy, home->memory, home->used);
    memcpy(home->copy_given_back, home->given_back, sizeof home->given_back);
    (void)mprotect(home->copy, home->used, PROT_READ);
    home->quota = quota;
    home->lua = lua;
    home->copy_bytes = home->used;
    home->held_bytes = held_bytes;
}

static void forget_untouched(struct home *home)
{
    size_t used = (home->used + HOME_PAGE_BYTES - 1) / HOME_PAGE_BYTES * HOME_PAGE_BYTES;
    if (home->touched < home->used)
        home->touched = home->used;
    if (home->touched <= used + slack_bytes)
        return;
    (void)madvise(home->memory + used, home->touched - used, MADV_DONTNEED);
    home->touched = used;
}

lua_State *home_copy(struct home *home, const struct quota *quota)
{
    if (!home->copy || home->quota != quota)
        return NULL;
    forget_untouched(home);
    untouchable_end(home->memory, home->copy_bytes);
    untouchable_set(home->memory + home->copy_bytes, home->size - home->copy_bytes);
    memcpy(home->memory, home->copy, home->copy_bytes);
    memcpy(home->given_back, home->copy_given_back, sizeof home->given_back);
    home->used = home->copy_bytes;
    return home->lua;
}

/* The list of blocks of so many bytes; HOME_LISTS and more: there is none. */
static size_t list_for(size_t bytes)
{
    if (bytes <= HOME_PAGE_BYTES)
        return bytes / HOME_BLOCK_BYTES + (bytes % HOME_BLOCK_BYTES > 0);
    size_t pages = bytes / HOME_PAGE_BYTES + (bytes % HOME_PAGE_BYTES > 0);
    return HOME_PAGE_BYTES / HOME_BLOCK_BYTES + pages - 1;
}

static size_t bytes_of(size_t list)
{
    size_t small = HOME_PAGE_BYTES / HOME_BLOCK_BYTES;
    return list <= small ? list * HOME_BLOCK_BYTES : (list - small + 1) * HOME_PAGE_BYTES;
}

/* Where nothing was given back. */
static void *take_fresh(struct home *home, size_t bytes)
{
    if (bytes > home->size - home->used) {
        home->too_small = true;
        return NULL;
    }
    char *fresh = home->memory + home->used;
    home->used += bytes;
    untouchable_end(fresh, bytes);
    return fresh;
}

void *home_take(struct home *home, size_t bytes)
{
    size_t list = list_for(bytes);
    if (list >= HOME_LISTS) {
        home->too_small = true;
        return NULL;
    }
    struct home_block *block = home->given_back[list];
    if (!block)
        return take_fresh(home, bytes_of(list));
    home->given_back[list] = block->next;
    untouchable_end(block, bytes_of(list));
    return block;
}

void home_give_back(struct home *home, void *block, size_t bytes)
{
    struct home_block *given = block;
    size_t list = list_for(bytes);
    given->next = home->given_back[list];
    home->given_back[list] = given;
    untouchable_set(given + 1, bytes_of(list) - sizeof *given);
}
