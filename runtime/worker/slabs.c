/* Slabs of blocks of one size; see slabs.h. */
#include "worker/slabs.h"

#include "common/untouchable.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

enum {
    CHUNK_SLABS = SLAB_CHUNK_BYTES / SLAB_BYTES,
    LINE_BYTES = 64,
    COLORS = 8,
    FINE_SIZES = SLAB_FINE_MOST / SLAB_STEP,
};

/* A block that nobody has. */
struct slab_block {
    struct slab_block *next;
};

struct slab {
    alignas(LINE_BYTES) struct slab *next; /* of those that are open for this size, or empty */
    struct slab *previous;
    struct slab_block *given_back;
    char *fresh; /* from here on no block was taken yet */
    char *end;   /* behind the last whole block */
    uint32_t block_bytes;
    uint32_t taken; /* blocks */
    uint32_t size;  /* its place in `open` */
};

/* At the beginning of its memory. The heads lie somewhere else in each chunk: in the same place they would
 * be in each other's way in the processor's cache. */
struct slab_chunk {
    struct slab_chunk *next;
    struct slab_chunk *previous;
    struct slab *heads; /* of CHUNK_SLABS, the first of which is for this and them */
    size_t in_use;      /* slabs with blocks */
};

_Static_assert(sizeof(struct slab_chunk) <= LINE_BYTES, "heads begin in the next line");
_Static_assert(LINE_BYTES + (size_t)COLORS * CHUNK_SLABS * sizeof(struct slab) <= SLAB_BYTES,
               "all heads fit");

static size_t size_for(size_t bytes)
{
    if (bytes <= SLAB_FINE_MOST)
        return (bytes - 1) / SLAB_STEP;
    return FINE_SIZES + (bytes - SLAB_FINE_MOST - 1) / SLAB_COARSE_STEP;
}

static uint32_t block_bytes_of(size_t size)
{
    size_t bytes = size < FINE_SIZES ? (size + 1) * SLAB_STEP
                                     : SLAB_FINE_MOST + (size - FINE_SIZES + 1) * SLAB_COARSE_STEP;
    return (uint32_t)bytes;
}

static void put_in(struct slab **list, struct slab *slab)
{
    slab->previous = NULL;
    slab->next = *list;
    if (*list)
        (*list)->previous = slab;
    *list = slab;
}

static void take_out(struct slab **list, struct slab *slab)
{
    if (slab->previous)
        slab->previous->next = slab->next;
    else
        *list = slab->next;
    if (slab->next)
        slab->next->previous = slab->previous;
}

static struct slab_chunk *chunk_of(const void *within)
{
    return (struct slab_chunk *)((uintptr_t)within & ~(uintptr_t)(SLAB_CHUNK_BYTES - 1));
}

static struct slab *slab_of(const void *block)
{
    struct slab_chunk *chunk = chunk_of(block);
    return &chunk->heads[((uintptr_t)block - (uintptr_t)chunk) / SLAB_BYTES];
}

static char *memory_of(const struct slab *slab)
{
    struct slab_chunk *chunk = chunk_of(slab);
    return (char *)chunk + (size_t)(slab - chunk->heads) * SLAB_BYTES;
}

/* Aligned: twice as much is mapped, and what is around it given back. */
static char *map_chunk(void)
{
    char *memory =
        mmap(NULL, 2 * (size_t)SLAB_CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)memory) % SLAB_CHUNK_BYTES;
    if (before > 0)
        (void)munmap(memory, before);
    (void)munmap(memory + before + SLAB_CHUNK_BYTES, SLAB_CHUNK_BYTES - before);
    return memory + before;
}

static void unmap_chunk(struct slab_chunk *chunk)
{
    untouchable_end(chunk, SLAB_CHUNK_BYTES);
    (void)munmap(chunk, SLAB_CHUNK_BYTES);
}

static bool add_chunk(struct slabs *slabs)
{
    char *memory = map_chunk();
    if (!memory)
        return false;
    untouchable_set(memory + SLAB_BYTES, SLAB_CHUNK_BYTES - SLAB_BYTES);
    size_t color = slabs->chunks_made++ % COLORS;
    struct slab_chunk *chunk = (struct slab_chunk *)(void *)memory;
    *chunk = (struct slab_chunk){
        .next = slabs->chunks,
        .heads = (struct slab *)(void *)(memory + LINE_BYTES) + color * CHUNK_SLABS,
    };
    if (chunk->next)
        chunk->next->previous = chunk;
    slabs->chunks = chunk;
    for (size_t i = CHUNK_SLABS - 1; i > 0; i--)
        put_in(&slabs->empty, &chunk->heads[i]);
    slabs->chunks_empty++;
    slabs->bytes += SLAB_CHUNK_BYTES;
    return true;
}

static void drop_chunk(struct slabs *slabs, struct slab_chunk *chunk)
{
    for (size_t i = 1; i < CHUNK_SLABS; i++)
        take_out(&slabs->empty, &chunk->heads[i]);
    if (chunk->previous)
        chunk->previous->next = chunk->next;
    else
        slabs->chunks = chunk->next;
    if (chunk->next)
        chunk->next->previous = chunk->previous;
    slabs->chunks_empty--;
    slabs->bytes -= SLAB_CHUNK_BYTES;
    unmap_chunk(chunk);
}

static struct slab *open_slab(struct slabs *slabs, size_t size)
{
    if (!slabs->empty && !add_chunk(slabs))
        return NULL;
    struct slab *slab = slabs->empty;
    take_out(&slabs->empty, slab);
    if (chunk_of(slab)->in_use++ == 0)
        slabs->chunks_empty--;
    slab->size = (uint32_t)size;
    slab->block_bytes = block_bytes_of(size);
    slab->given_back = NULL;
    slab->fresh = memory_of(slab);
    slab->end = slab->fresh + (size_t)SLAB_BYTES / slab->block_bytes * slab->block_bytes;
    put_in(&slabs->open[size], slab);
    return slab;
}

static void empty_slab(struct slabs *slabs, struct slab *slab)
{
    struct slab_chunk *chunk = chunk_of(slab);
    take_out(&slabs->open[slab->size], slab);
    put_in(&slabs->empty, slab);
    if (--chunk->in_use == 0 && ++slabs->chunks_empty > 1)
        drop_chunk(slabs, chunk);
}

static bool has_room(const struct slab *slab)
{
    return slab->given_back || slab->fresh < slab->end;
}

void slabs_clear(struct slabs *slabs)
{
    while (slabs->chunks) {
        struct slab_chunk *chunk = slabs->chunks;
        slabs->chunks = chunk->next;
        unmap_chunk(chunk);
    }
    *slabs = (struct slabs){ 0 };
}

void *slabs_take(struct slabs *slabs, size_t bytes)
{
    size_t size = size_for(bytes);
    struct slab *slab = slabs->open[size] ? slabs->open[size] : open_slab(slabs, size);
    if (!slab)
        return NULL;
    void *block = slab->given_back;
    if (block) {
        slab->given_back = slab->given_back->next;
    } else {
        block = slab->fresh;
        slab->fresh += slab->block_bytes;
    }
    slab->taken++;
    if (!has_room(slab))
        take_out(&slabs->open[size], slab);
    untouchable_end(block, slab->block_bytes);
    return block;
}

void slabs_give_back(struct slabs *slabs, void *block)
{
    struct slab *slab = slab_of(block);
    if (!has_room(slab))
        put_in(&slabs->open[slab->size], slab);
    struct slab_block *given = block;
    given->next = slab->given_back;
    slab->given_back = given;
    untouchable_set(given + 1, slab->block_bytes - sizeof *given);
    if (--slab->taken == 0)
        empty_slab(slabs, slab);
}
