/* The leak doctor: looks through the heap now and then, and tells the host which variables grow with every
 * message.
 *
 * A look is a full collection and a walk (heap_walk.h). The first comes when a state has warmed up, each
 * further one after half as many messages again, and where the heap has grown by a good part of what it may;
 * the last when the state is over. Judged is what grew (growth.h) at the end of a state, or after so many
 * messages that a cache of ordinary size would have been full.
 *
 * It takes a hundredth of the worker's time, but for a first series of looks: what it may take is saved up,
 * and a state that begins when nothing is saved is not looked at until there is. A worker on trial does not
 * save: it looks from the first messages on, so that the same messages always tell the same. */
#ifndef WORKER_LEAK_WATCH_H
#define WORKER_LEAK_WATCH_H

#include "common/wire.h"
#include "worker/heap_places.h"
#include "worker/heap_seen.h"
#include "worker/state.h"

#include <stdbool.h>
#include <stdint.h>

struct leak_watch {
    struct places places;
    struct heap_seen seen;
    bool open;
    bool on_trial;
    bool at_work;           /* this state is looked at */
    bool incomplete;        /* a walk did not get through: nothing more is known of this state */
    bool weak;              /* the last walk met weak tables: a collection goes before the next */
    bool said_incomplete;   /* the log has been told */
    uint64_t messages;      /* that the state has handled */
    uint64_t next_messages; /* the next look is due then, or */
    uint64_t next_bytes;    /* when the heap with its garbage is so large */
    uint64_t live;          /* bytes, at the last collection for a look of this state; 0: none yet */
    uint64_t looks;         /* since the worker began */
    uint64_t objects;       /* that the last walk found */
    int64_t began_ns;       /* the worker */
    int64_t spent_ns;       /* on looking, since then */
    int64_t saved_ns;       /* what it may take; negative: what it has taken in advance */
    int64_t counted_ns;     /* until when time is in `saved_ns` */
    int64_t walk_ns;        /* the last walk took */
};

bool leak_watch_open(struct leak_watch *watch, bool on_trial); /* false where there is no memory */
void leak_watch_close(struct leak_watch *watch);

/* A state has been loaded; it is over, and why: before it is torn down. */
void leak_watch_begin(struct leak_watch *watch, const struct state *state);
void leak_watch_end(struct leak_watch *watch, struct state *state, enum wire_recycle_reason reason);

/* The look that is due. */
void leak_watch_look(struct leak_watch *watch, struct state *state, int64_t now_ns);

/* One message more is handled, the state goes on. */
static inline void leak_watch_message(struct leak_watch *watch, struct state *state, int64_t now_ns)
{
    if (++watch->messages >= watch->next_messages || state_heap_bytes(state) >= watch->next_bytes)
        leak_watch_look(watch, state, now_ns);
}

/* The host asks: looks at once, tells what has grown until now, and then WIRE_LOOKED. */
void leak_watch_answer(struct leak_watch *watch, struct state *state);

#endif
