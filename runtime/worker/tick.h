/* The worker's one periodic timer: it sends results that wait while a handler runs long, so that a slow
 * message never holds back the results of those before it, and it notices a deadline that is over.
 *
 * It costs no system call per message: armed when work begins, it disarms itself after a spell without any.
 * Its signal handler runs in the only thread, between any two instructions of it, and touches only what
 * link.h and deadline.h let it. */
#ifndef WORKER_TICK_H
#define WORKER_TICK_H

#include "common/error.h"
#include "worker/deadline.h"
#include "worker/link.h"

#include <signal.h>
#include <stdbool.h>
#include <time.h>

struct tick {
    struct link *link; /* NULL: not open */
    struct deadline *deadline;
    timer_t timer;
    volatile sig_atomic_t working; /* main code has messages at hand */
    volatile sig_atomic_t armed;
    volatile sig_atomic_t idle; /* ticks in a row that found nothing to do */
};

/* `link` and `deadline` are borrowed and must stay until tick_close; one tick per process, since it takes
 * SIGALRM. */
bool tick_open(struct tick *tick, struct link *link, struct deadline *deadline, struct error *error);
void tick_close(struct tick *tick); /* also after a failed open */

/* Messages are at hand: from now on what waits is sent at each tick. */
void tick_work(struct tick *tick);
/* Nothing is at hand: the worker is about to wait. */
void tick_rest(struct tick *tick);

#endif
