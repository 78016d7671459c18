/* What a worker keeps from state to state; see home.h. */
#include "worker/home.h"

#include <string.h>
#include <sys/mman.h>

/* A small block that nobody has. */
struct home_block {
    struct home_block *next;
};

void home_init(struct home *home, size_t size_bytes)
{
    *home = (struct home){ .size = size_bytes };
}

void home_clear(struct home *home)
{
    if (home->memory)
        (void)munmap(home->memory, home->size);
    if (home->copy)
        (void)munmap(home->copy, home->copy_bytes);
    *home = (struct home){ 0 };
}

static char *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static void empty(struct home *home, size_t used)
{
    home->used = used;
    memset(home->given_back, 0, sizeof home->given_back);
}

void home_begin(struct home *home)
{
    if (!home->memory && home->size > 0)
        home->memory = map(home->size);
    if (!home->memory)
        home->size = 0;
    home->opening = home->size > 0;
    home->too_small = false;
    empty(home, 0);
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
    memcpy(home->copy, home->memory, home->used);
    (void)mprotect(home->copy, home->used, PROT_READ);
    home->quota = quota;
    home->lua = lua;
    home->copy_bytes = home->used;
    home->held_bytes = held_bytes;
}

lua_State *home_copy(struct home *home, const struct quota *quota)
{
    if (!home->copy || home->quota != quota)
        return NULL;
    memcpy(home->memory, home->copy, home->copy_bytes);
    empty(home, home->copy_bytes);
    return home->lua;
}

/* How many HOME_BLOCK_BYTES make room for so many bytes. */
static size_t blocks_for(size_t bytes)
{
    return bytes / HOME_BLOCK_BYTES + (bytes % HOME_BLOCK_BYTES > 0);
}

void *home_take(struct home *home, size_t bytes)
{
    size_t blocks = blocks_for(bytes);
    if (blocks > HOME_SMALL_BLOCKS && !home->opening)
        return NULL;
    struct home_block *block = home->opening ? NULL : home->given_back[blocks];
    if (block) {
        home->given_back[blocks] = block->next;
        return block;
    }
    if (blocks > (home->size - home->used) / HOME_BLOCK_BYTES) {
        home->too_small = true;
        return NULL;
    }
    char *fresh = home->memory + home->used;
    home->used += blocks * HOME_BLOCK_BYTES;
    return fresh;
}

void home_give_back(struct home *home, void *block, size_t bytes)
{
    size_t blocks = blocks_for(bytes);
    struct home_block *given = block;
    if (blocks > HOME_SMALL_BLOCKS || home->opening)
        return;
    given->next = home->given_back[blocks];
    home->given_back[blocks] = given;
}
