/* Large blocks; see large.h. */
#include "worker/large.h"

#include "common/untouchable.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* In front of each block. */
struct large_block {
    alignas(max_align_t) struct large_block *next;
    struct large_block *previous;
    size_t mapped_bytes;
};

enum { PAGE_BYTES = 4096 };

/* With the head; 0 where there is no such number. */
static size_t pages_for(size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(struct large_block) - PAGE_BYTES)
        return 0;
    return (bytes + sizeof(struct large_block) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static struct large_block *head_of(void *block)
{
    return (struct large_block *)block - 1;
}

/* Its neighbours know where it is. */
static void link(struct large *large, struct large_block *block)
{
    if (block->previous)
        block->previous->next = block;
    else
        large->first = block;
    if (block->next)
        block->next->previous = block;
}

static struct large_block *map(size_t mapped_bytes)
{
    void *pages = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_bytes == 0 || pages == MAP_FAILED)
        return NULL;
    struct large_block *block = pages;
    block->mapped_bytes = mapped_bytes;
    return block;
}

static void unmap(struct large_block *block)
{
    untouchable_end(block, block->mapped_bytes);
    (void)munmap(block, block->mapped_bytes);
}

/* One of this size, or else the latest; NULL where none waits. */
static struct large_block *take_spare(struct large *large, size_t mapped_bytes)
{
    struct large_block **at = &large->spare;
    while (*at && (*at)->mapped_bytes != mapped_bytes)
        at = &(*at)->next;
    if (!*at)
        at = &large->spare;
    struct large_block *block = *at;
    if (!block)
        return NULL;
    *at = block->next;
    large->spare_bytes -= block->mapped_bytes;
    untouchable_end(block, block->mapped_bytes);
    return block;
}

/* NULL where the system has none; then the block stays as it was. */
static struct large_block *resize(struct large_block *block, size_t mapped_bytes)
{
    if (block->mapped_bytes == mapped_bytes)
        return block;
    void *pages =
        mapped_bytes > 0 ? mremap(block, block->mapped_bytes, mapped_bytes, MREMAP_MAYMOVE) : MAP_FAILED;
    if (pages == MAP_FAILED)
        return NULL;
    block = pages;
    block->mapped_bytes = mapped_bytes;
    return block;
}

static struct large_block *reuse(struct large *large, size_t mapped_bytes)
{
    struct large_block *spare = take_spare(large, mapped_bytes);
    struct large_block *block = spare ? resize(spare, mapped_bytes) : NULL;
    if (spare && !block)
        unmap(spare);
    return block;
}

void *large_take(struct large *large, size_t bytes)
{
    size_t mapped_bytes = pages_for(bytes);
    struct large_block *block = reuse(large, mapped_bytes);
    if (!block)
        block = map(mapped_bytes);
    if (!block)
        return NULL;
    block->next = large->first;
    block->previous = NULL;
    link(large, block);
    return block + 1;
}

void *large_resize(struct large *large, void *block, size_t bytes)
{
    struct large_block *head = resize(head_of(block), pages_for(bytes));
    if (!head)
        return NULL;
    link(large, head);
    return head + 1;
}

static void unlink_block(struct large *large, struct large_block *block)
{
    if (block->previous)
        block->previous->next = block->next;
    else
        large->first = block->next;
    if (block->next)
        block->next->previous = block->previous;
}

void large_give_back(struct large *large, void *block)
{
    struct large_block *head = head_of(block);
    unlink_block(large, head);
    if (head->mapped_bytes > LARGE_SPARE_BYTES - large->spare_bytes) {
        unmap(head);
        return;
    }
    head->next = large->spare;
    large->spare = head;
    large->spare_bytes += head->mapped_bytes;
    untouchable_set(head + 1, head->mapped_bytes - sizeof *head);
}

void large_drop_spare(struct large *large)
{
    while (large->spare) {
        struct large_block *block = large->spare;
        large->spare = block->next;
        unmap(block);
    }
    large->spare_bytes = 0;
}

void large_clear(struct large *large)
{
    while (large->first) {
        struct large_block *block = large->first;
        unlink_block(large, block);
        unmap(block);
    }
    large_drop_spare(large);
}
