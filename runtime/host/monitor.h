/* The memory monitor: every memory.interval it looks at what the program holds, and acts before a limit is
 * reached.
 *
 * Memory is what the host and all its workers have resident and share with nobody. At memory.warning it says
 * so, at most once a minute. At memory.critical the largest worker is asked to recycle its state and, where
 * it is the largest again before memory is below that, or has not come to it in limits.deadline and
 * limits.grace, that process is replaced. A worker over recycle.process_memory is replaced in any case. It
 * also warns when descriptors, sockets, processes or channels come near their bound, when the whole prefetch
 * of a consumer waits on handlers that do not end, when a part of the cache was emptied, when a queue comes
 * near its bound and when dead letters pile up. What it warns of is an alarm (alarms.h) for as long as it
 * lasts. */
#ifndef HOST_MONITOR_H
#define HOST_MONITOR_H

#include "common/board.h"
#include "host/alarms.h"

#include <stdint.h>
#include <sys/types.h>

#include <ev.h>

struct program;
struct config;

struct monitor {
    enum memory_status status;
    int64_t usage_bytes;
    int64_t peak_bytes;
    int64_t warning_bytes;
    int64_t critical_bytes;  /* the limit that the percentage is of */
    int64_t critical_ns;     /* since when it has been; valid while it is */
    struct alarms alarms;    /* of the program; each consumer has its own */
    uint64_t cache_resets;   /* that the last look found */
    int64_t cache_reset_ns;  /* when one was found last */
    int64_t host_bytes;      /* resident, its own; 0 before the first look */
    unsigned descriptors;    /* open; 0 before the first look */
    int64_t descriptors_max; /* 0: there is no limit, or it is not known */
    ev_timer timer;
};

void monitor_start(struct program *program, const struct config *config);
void monitor_stop(struct program *program);

#endif
