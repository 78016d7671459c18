/* malloc for cjson; see json_memory.h. */
#include "worker/json_memory.h"

#include <stdint.h>
#include <stdlib.h>

#include <lauxlib.h>

enum {
    SMALL_BYTES = 4096, /* more than a new module or an empty buffer needs */
    /* cjson asks for 6 bytes for each byte of a string, behind what is in its buffer, and doubles the buffer
     * until that fits: all of it stays under 1 GiB. */
    STRING_BYTES_MAX = 64 * 1024 * 1024,
    BUFFER_BYTES_MAX = 512 * 1024 * 1024,
};

/* In front of each block. LuaJIT's arena aligns to 8 bytes, and nothing that cjson keeps needs more. */
struct head {
    size_t bytes; /* head and block */
};

static struct quota *current;

void json_memory_use(struct quota *quota)
{
    current = quota;
}

static void *after_head(struct head *head, size_t bytes)
{
    head->bytes = bytes;
    return head + 1;
}

/* Without a quota: trusted Lua, which may have what malloc gives. */
static void *reallocate_freely(struct head *old, size_t bytes)
{
    struct head *head = realloc(old, bytes);
    return head ? after_head(head, bytes) : NULL;
}

void *json_realloc(void *block, size_t bytes)
{
    struct head *old = block ? (struct head *)block - 1 : NULL;
    struct head *head = NULL;
    if (!current)
        return bytes <= BUFFER_BYTES_MAX ? reallocate_freely(old, sizeof *head + bytes) : NULL;
    if (bytes <= BUFFER_BYTES_MAX)
        head = quota_reallocate(current, old, old ? old->bytes : 0, sizeof *head + bytes);
    else
        trip_arm(current->trip, TRIP_MEMORY);
    if (!head) {
        /* The block is as it was; the error leaves cjson. */
        (void)trip_raise(current->at_work);
        return NULL;
    }
    return after_head(head, sizeof *head + bytes);
}

void *json_malloc(size_t bytes)
{
    if (bytes > SMALL_BYTES || !current)
        return json_realloc(NULL, bytes);
    struct head *head = quota_allocate_anyway(current, sizeof *head + bytes);
    return head ? after_head(head, sizeof *head + bytes) : NULL;
}

void json_free(void *block)
{
    if (!block)
        return;
    struct head *head = (struct head *)block - 1;
    if (current)
        (void)quota_reallocate(current, head, head->bytes, 0);
    else
        free(head);
}

const char *json_tolstring(lua_State *lua, int index, size_t *ret_size)
{
    const char *text = lua_tolstring(lua, index, ret_size);
    if (text && *ret_size > STRING_BYTES_MAX)
        luaL_error(lua, "a string of %d bytes is too long for JSON: it can have %d", (int)*ret_size,
                   STRING_BYTES_MAX);
    return text;
}
