/* The status board: one page of shared memory for each worker process, by which it tells the host without a
 * system call which message it runs, and by which the host takes back messages that it has not begun.
 *
 * Taking back (revoking) is a race of two who store and then look, in one total order (seq_cst): the worker
 * stores `started` and then reads `revoked_from`; the host stores `revoked_from` and then reads `started`. At
 * least one of them sees the other, so no message is both run and taken back. What the host reads here is
 * only a hint about the worker that owns the page: a hostile worker can lie about itself, and about nobody
 * else. */
#ifndef COMMON_BOARD_H
#define COMMON_BOARD_H

#include "common/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of the whole program, as the host's monitor judges it. */
enum memory_status { MEMORY_NORMAL, MEMORY_WARNING, MEMORY_CRITICAL };

struct board {
    _Atomic uint64_t started; /* seq of the last message whose handler was begun; 0 before the first */
    _Atomic uint64_t
        revoked_from;            /* messages with this seq and above are not to be begun; UINT64_MAX: none */
    _Atomic int64_t started_ns;  /* when `started` was begun (monotonic, the same clock in both processes) */
    _Atomic uint64_t running;    /* where several are under way at once: the seq of the one that is on the
                                    processor now; 0: none is, all of them wait */
    _Atomic uint64_t heap_bytes; /* the Lua heap when last looked at */
    _Atomic uint64_t heap_peak_bytes; /* the most that this state has had, by then */
    _Atomic uint32_t memory_status;   /* enum memory_status: the host's word for memory.check */
    _Atomic uint64_t recycles;        /* states closed since the process began */
};

/* Host: makes the page as a memfd (close-on-exec is the caller's affair) and maps it. NULL with error. */
struct board *board_open(int *ret_fd, struct error *error);
/* Worker: maps the page it was given. NULL with error. */
struct board *board_map(int fd, struct error *error);
void board_close(struct board *board);

/* Worker: about to begin `seq`; false where the host has taken it back. */
static inline bool board_claim(struct board *board, uint64_t seq, int64_t now_ns)
{
    atomic_store_explicit(&board->started_ns, now_ns, memory_order_relaxed);
    atomic_store(&board->started, seq);
    return seq < atomic_load(&board->revoked_from);
}

/* Worker: whether the host has taken back `seq`, which is not begun and then never will be. */
static inline bool board_is_revoked(const struct board *board, uint64_t seq)
{
    return seq >= atomic_load(&board->revoked_from);
}

/* Host: takes back every message from `seq` on that was not begun; returns the first seq that surely will not
 * be begun. What lies below it and is unanswered may have been begun: its WIRE_RESULT tells. */
static inline uint64_t board_revoke(struct board *board, uint64_t seq)
{
    atomic_store(&board->revoked_from, seq);
    uint64_t started = atomic_load(&board->started);
    return started >= seq ? started + 1 : seq;
}

/* Host: lets the worker begin messages again; only when it has answered everything that it was given. */
static inline void board_allow(struct board *board)
{
    atomic_store(&board->revoked_from, UINT64_MAX);
}

#endif
