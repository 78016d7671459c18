/* Small blocks of a Lua state, in slabs of one size each: blocks that are taken one after another lie side by
 * side, also where they take the place of garbage, and to give one back touches nothing but itself and the
 * slab's head. Where much lives, memory that is in no cache is most of what a message costs.
 *
 * Slabs come in chunks, which begin at a multiple of their size, so that a block finds its chunk; the first
 * slab of a chunk is for the heads of the others. A slab without blocks serves any size. A chunk without
 * blocks goes back to the system, but for one. */
#ifndef WORKER_SLABS_H
#define WORKER_SLABS_H

#include <stddef.h>

enum {
    SLAB_BYTES = 32 * 1024,
    SLAB_CHUNK_BYTES = 1024 * 1024,
    SLAB_BLOCK_MOST = 2048,
    SLAB_STEP = 16,       /* blocks are multiples of it up to SLAB_FINE_MOST, */
    SLAB_FINE_MOST = 512, /* and from there on of SLAB_COARSE_STEP */
    SLAB_COARSE_STEP = 64,
    SLAB_SIZES = SLAB_FINE_MOST / SLAB_STEP + (SLAB_BLOCK_MOST - SLAB_FINE_MOST) / SLAB_COARSE_STEP,
};

struct slab;
struct slab_chunk;

/* Nothing but zeros: there are none yet. */
struct slabs {
    size_t bytes;                  /* of all chunks */
    struct slab *open[SLAB_SIZES]; /* with room for a block of this size; NULL: none */
    struct slab *empty;
    struct slab_chunk *chunks;
    size_t chunks_made;
    size_t chunks_empty;
};

/* Of 1 to SLAB_BLOCK_MOST bytes; NULL where the system has no memory. */
void *slabs_take(struct slabs *slabs, size_t bytes);
void slabs_give_back(struct slabs *slabs, void *block);
/* Of all blocks. */
void slabs_clear(struct slabs *slabs);

#endif
