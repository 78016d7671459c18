/* malloc for cjson; see json_memory.h. */
#include "worker/json_memory.h"

#include <stdint.h>

/* In front of each block. LuaJIT's arena aligns to 8 bytes, and nothing that cjson keeps needs more. */
struct head {
    size_t bytes; /* head and block */
};

static struct quota *current;

void json_memory_use(struct quota *quota)
{
    current = quota;
}

void *json_realloc(void *block, size_t bytes)
{
    struct head *old = block ? (struct head *)block - 1 : NULL;
    size_t old_bytes = old ? old->bytes : 0;
    struct head *head = NULL;
    if (bytes <= SIZE_MAX - sizeof *head)
        head = quota_reallocate(current, old, old_bytes, sizeof *head + bytes);
    if (!head) {
        /* The block is as it was; the error leaves cjson. */
        (void)trip_raise(current->at_work);
        return NULL;
    }
    head->bytes = sizeof *head + bytes;
    return head + 1;
}

void *json_malloc(size_t bytes)
{
    return json_realloc(NULL, bytes);
}

void json_free(void *block)
{
    if (!block)
        return;
    struct head *head = (struct head *)block - 1;
    (void)quota_reallocate(current, head, head->bytes, 0);
}
