/* The messages that are under way at once in a worker: each in a coroutine of its own, which yields where its
 * handler waits (wait.h).
 *
 * One runs at a time. What the state holds for the message at hand (the message, its outbox, its wait, its
 * deadline) is put in place before a coroutine runs and taken away after it; so all that serves scripts knows
 * of one message only, and the page of the status board names the one that is to be charged if the process
 * dies. A message that does not wait is run from the link's input, as it came; one that does is copied.
 *
 * The deadline counts from a message's start, waiting included, but not what others took of the processor
 * for long. A message that waits past it is dropped, and the state lives on. A trip is the end of the state:
 * the message that ran has failed, and the others go back to the host, which hands them out anew. */
#ifndef WORKER_TASKS_H
#define WORKER_TASKS_H

#include "common/board.h"
#include "common/buffer.h"
#include "worker/leak_watch.h"
#include "worker/recycle.h"
#include "worker/state.h"

#include <stdbool.h>
#include <stdint.h>

struct task;

struct tasks {
    struct state *state;
    struct board *board;
    struct recycle *recycle;
    struct leak_watch *leaks;
    struct task *all;
    unsigned capacity;
    unsigned under_way;
    struct task *free;
    struct task *ready; /* to be looked at: their wait is over, or their time may be; in order */
    struct task **ready_end;
    int64_t taken_ns;                /* of the processor, in turns that were long */
    enum wire_recycle_reason reason; /* why the state is over, once none is under way; NONE: it is not */
};

/* What is passed is borrowed. False where there is no memory. */
bool tasks_init(struct tasks *tasks, struct state *state, struct board *board, struct recycle *recycle,
                struct leak_watch *leaks, unsigned capacity);
void tasks_clear(struct tasks *tasks); /* before the state is closed */

/* None is under way, and the state is about to be closed: another follows. */
void tasks_forget_state(struct tasks *tasks);

/* Whether another message can be begun. */
bool tasks_have_room(const struct tasks *tasks);

/* Begins a claimed message, whose frame's payload this is, and runs it until it waits or is over; there must
 * be room. False where the payload is none. */
bool tasks_begin(struct tasks *tasks, struct slice payload, int64_t now_ns);

/* Goes on with those whose wait is over. */
void tasks_turn(struct tasks *tasks);

#endif
