/* A lock in memory that processes share: a word with its owner's thread id, in the kernel's form of robust
 * futexes. When the owner dies, however it dies, the kernel itself opens the lock. Taking it and leaving it
 * costs no system call where nobody waits.
 *
 * glibc's robust mutexes do the same, but keep pointers inside the mutex and follow them: a worker that is
 * not trusted could have the host write anywhere. Here the shared memory holds nothing but the word; what the
 * kernel needs is in the thread's own memory, in the list that glibc registered for it.
 *
 * A process holds one lock at a time and takes it in the thread that called locker_init. */
#ifndef COMMON_CACHE_LOCK_H
#define COMMON_CACHE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct robust_list_head;

struct cache_lock {
    _Atomic uint32_t word; /* 0: open */
};

/* Who takes locks. A child after fork needs one of its own. */
struct cache_locker {
    uint32_t thread_id;
    struct robust_list_head *robust;
};

/* What somebody saw who waited in vain. */
struct cache_lock_sight {
    uint32_t word; /* 0: nobody waited in vain */
    uint32_t sequence;
};

/* False where the system keeps no list of robust locks. */
bool locker_init(struct cache_locker *locker);

/* False when the owner did not open it within `wait_ns`. Whether the last owner died with it the caller tells
 * from what the lock guards. */
bool cache_lock_take(struct cache_locker *locker, struct cache_lock *lock, int64_t wait_ns);
void cache_lock_leave(struct cache_locker *locker, struct cache_lock *lock);

/* Opens it where its owner is no child of this process: for the parent of all that take it, which does not
 * hold it itself. */
void cache_lock_tend(struct cache_lock *lock);

#endif
