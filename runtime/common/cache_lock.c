/* The cache's lock; see cache_lock.h, and Documentation/locking/robust-futex-ABI of the kernel. */
#include "common/cache_lock.h"

#include "common/clock.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SPINS = 200,             /* about as long as an operation: waiting asleep costs more */
    SLEEP_NS_MAX = 50000000, /* should who was woken instead be stopped before it takes the lock */
};

static uint32_t owner_of(uint32_t word)
{
    return word & FUTEX_TID_MASK;
}

bool locker_init(struct cache_locker *locker)
{
    struct robust_list_head *robust = NULL;
    size_t size = 0;
    if (syscall(SYS_get_robust_list, 0, &robust, &size) != 0 || !robust || size != sizeof *robust)
        return false;
    *locker = (struct cache_locker){ .thread_id = (uint32_t)gettid(), .robust = robust };
    return true;
}

/* Names the lock that is being taken or left; should the thread end now, the kernel opens it where the word
 * has the thread's id, and wakes who waits. Only the order within this thread matters: no barrier but the
 * compiler's. */
static void announce(struct cache_locker *locker, struct cache_lock *lock)
{
    struct robust_list *place = NULL;
    if (lock) /* A number to the kernel, and to nobody a pointer. */
        place = (struct robust_list *)((uintptr_t)&lock->word - (uintptr_t)locker->robust->futex_offset);
    atomic_signal_fence(memory_order_seq_cst);
    *(struct robust_list *volatile *)&locker->robust->list_op_pending = place;
    atomic_signal_fence(memory_order_seq_cst);
}

static bool try_take(struct cache_locker *locker, struct cache_lock *lock, uint32_t seen, uint32_t flags)
{
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, locker->thread_id | flags,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Its own id in a lock that it does not hold is a lie that somebody wrote there. */
static bool is_open(const struct cache_locker *locker, uint32_t word)
{
    return owner_of(word) == 0 || owner_of(word) == locker->thread_id;
}

static bool spin(struct cache_locker *locker, struct cache_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
        if (is_open(locker, seen) && try_take(locker, lock, seen, seen & FUTEX_WAITERS))
            return true;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    return false;
}

static void sleep_on(struct cache_lock *lock, uint32_t seen, int64_t wait_ns)
{
    const struct timespec wait = { .tv_sec = wait_ns / CLOCK_NS_PER_SECOND,
                                   .tv_nsec = wait_ns % CLOCK_NS_PER_SECOND };
    /* Woken, interrupted, changed already or too late: the caller looks for itself. */
    (void)syscall(SYS_futex, &lock->word, FUTEX_WAIT, seen, &wait, NULL, 0);
}

/* From here on the lock says that somebody waits, also when it is ours: there may be others. */
static bool wait_for(struct cache_locker *locker, struct cache_lock *lock, int64_t wait_ns)
{
    int64_t until_ns = clock_now_ns() + wait_ns;
    for (;;) {
        uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
        if (is_open(locker, seen) && try_take(locker, lock, seen, FUTEX_WAITERS))
            return true;
        int64_t left_ns = until_ns - clock_now_ns();
        if (left_ns <= 0)
            return false;
        if (is_open(locker, seen))
            continue;
        if ((seen & FUTEX_WAITERS) ||
            atomic_compare_exchange_strong_explicit(&lock->word, &seen, seen | FUTEX_WAITERS,
                                                    memory_order_relaxed, memory_order_relaxed))
            sleep_on(lock, seen | FUTEX_WAITERS, left_ns < SLEEP_NS_MAX ? left_ns : SLEEP_NS_MAX);
    }
}

bool cache_lock_take(struct cache_locker *locker, struct cache_lock *lock, int64_t wait_ns)
{
    announce(locker, lock);
    if (try_take(locker, lock, 0, 0) || spin(locker, lock) || wait_for(locker, lock, wait_ns))
        return true;
    announce(locker, NULL);
    return false;
}

static void wake_one(struct cache_lock *lock)
{
    (void)syscall(SYS_futex, &lock->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void cache_lock_leave(struct cache_locker *locker, struct cache_lock *lock)
{
    uint32_t word = atomic_exchange_explicit(&lock->word, 0, memory_order_release);
    if (word & FUTEX_WAITERS)
        wake_one(lock);
    announce(locker, NULL);
}

static bool is_child(uint32_t process_id)
{
    siginfo_t unused;
    return waitid(P_PID, (id_t)process_id, &unused, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void cache_lock_tend(struct cache_lock *lock)
{
    uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
    if (owner_of(seen) == 0 || is_child(owner_of(seen)))
        return;
    /* Not where it has changed since. */
    if (atomic_compare_exchange_strong_explicit(&lock->word, &seen, 0, memory_order_relaxed,
                                                memory_order_relaxed))
        wake_one(lock);
}
