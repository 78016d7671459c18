/* Large blocks; see large.h. */
#include "worker/large.h"

#include <stdalign.h>
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

void *large_take(struct large *large, size_t bytes)
{
    size_t mapped_bytes = pages_for(bytes);
    void *pages = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_bytes == 0 || pages == MAP_FAILED)
        return NULL;
    struct large_block *block = pages;
    *block = (struct large_block){ .next = large->first, .mapped_bytes = mapped_bytes };
    link(large, block);
    return block + 1;
}

void *large_resize(struct large *large, void *block, size_t bytes)
{
    struct large_block *head = head_of(block);
    size_t mapped_bytes = pages_for(bytes);
    if (mapped_bytes == head->mapped_bytes)
        return block;
    void *pages =
        mapped_bytes > 0 ? mremap(head, head->mapped_bytes, mapped_bytes, MREMAP_MAYMOVE) : MAP_FAILED;
    if (pages == MAP_FAILED)
        return NULL;
    head = pages;
    head->mapped_bytes = mapped_bytes;
    link(large, head);
    return head + 1;
}

void large_give_back(struct large *large, void *block)
{
    struct large_block *head = head_of(block);
    if (head->previous)
        head->previous->next = head->next;
    else
        large->first = head->next;
    if (head->next)
        head->next->previous = head->previous;
    (void)munmap(head, head->mapped_bytes);
}

void large_clear(struct large *large)
{
    while (large->first)
        large_give_back(large, large->first + 1);
}
