/* The leak doctor: looks through the heap now and then, and tells the host which variables grow with every
 * message.
 *
 * A look is a walk (heap_walk.h). The first comes early in a state, while there is little in it, each further
 * one after about twice as many messages (or a quarter more, where those are many), and where the heap has
 * grown by a good part of what it may; the last when the state is over. Judged is what grew (growth.h) at the
 * end of a state, or after so many messages that a cache of ordinary size would have been full.
 *
 * It takes a hundredth of the worker's time at most (leak_budget.h): a look that would cost more than what is
 * saved is put off, and an early one too that would leave too little for the last. So a walk goes only so far
 * into each place; what it leaves out is known by what lives in all (places_add_rest). That is told by
 * LuaJIT's own cycles (cycle.h), which a look waits for where it matters, or at the end by a collection,
 * where there is enough time for it. Where it does not tell, a later state is looked through without leaving
 * out anything, when enough is saved for that.
 *
 * After some states in which nothing grew only one in several is looked at.
 *
 * A worker on trial does not save: it looks from the first messages on, at everything, so that the same
 * messages always tell the same. */
#ifndef WORKER_LEAK_WATCH_H
#define WORKER_LEAK_WATCH_H

#include "common/wire.h"
#include "worker/heap_places.h"
#include "worker/heap_seen.h"
#include "worker/leak_budget.h"
#include "worker/state.h"

#include <stdbool.h>
#include <stdint.h>

/* How long a walk took, and after how many messages; 0 ns: there was none. */
struct leak_walk {
    int64_t ns;
    uint64_t messages;
};

/* What lived in all, about, after so many messages; 0 bytes where that is not known. */
struct living {
    uint64_t bytes, messages;
};

struct leak_watch {
    struct places places;
    struct heap_seen seen;
    struct leak_budget budget;
    bool open;
    bool on_trial;
    bool said_incomplete; /* the log has been told */
    /* Of the state at hand: */
    bool incomplete;      /* a walk did not get through: nothing more is known of it */
    bool weak;            /* the last walk met weak tables: what is in them counts right after a collection */
    bool whole;           /* walks leave out nothing */
    bool rests;           /* it is not looked at */
    uint64_t begin_bytes; /* of the heap, before the first message */
    int64_t unseen_bytes; /* that live, and that no walk finds; known from the first look on */
    int64_t state_began_ns; /* handling messages */
    uint64_t messages;      /* that it has handled */
    uint64_t next_messages; /* the next look is due then, or */
    uint64_t next_bytes;    /* when the heap with its garbage is so large */
    uint64_t live;          /* bytes, at the last collection for a look; 0: none yet */
    uint64_t cycles;        /* that have ended until now */
    struct living cycle;    /* at the end of the last one */
    struct leak_walk first_walk, last_walk;
    /* Of all states: */
    unsigned clean;  /* judgements in a row by which nothing grows */
    unsigned rested; /* states since then that were not looked at, modulo CLEAN_STATES */
    uint64_t looks;
    uint64_t objects;  /* that the last walk found */
    bool lists;        /* there are some so long that walks leave out what is in them */
    int64_t whole_ns;  /* a walk takes, about, that leaves out nothing, at the end of a state */
    double collect_ns; /* for each byte of the heap, the last collection took */
};

bool leak_watch_open(struct leak_watch *watch, bool on_trial); /* false where there is no memory */
void leak_watch_close(struct leak_watch *watch);

/* A state has been loaded; it is over, and why: before it is torn down. */
void leak_watch_begin(struct leak_watch *watch, const struct state *state);
void leak_watch_end(struct leak_watch *watch, struct state *state, enum wire_recycle_reason reason);

/* The look that is due. */
void leak_watch_look(struct leak_watch *watch, struct state *state, int64_t now_ns);

/* A cycle has ended: the look that waits for it is due. */
void leak_watch_cycle(struct leak_watch *watch, const struct state *state);

/* One message more is handled, the state goes on. */
static inline void leak_watch_message(struct leak_watch *watch, struct state *state, int64_t now_ns)
{
    uint64_t heap_bytes = state_heap_bytes(state);
    watch->messages++;
    if (state->cycle.ended != watch->cycles)
        leak_watch_cycle(watch, state);
    if (watch->messages >= watch->next_messages || heap_bytes >= watch->next_bytes)
        leak_watch_look(watch, state, now_ns);
}

/* The host asks: looks at once, tells what has grown until now, and then WIRE_LOOKED. */
void leak_watch_answer(struct leak_watch *watch, struct state *state);

/* After how many messages more the next look comes, after one at so many: as many again (half as many on
 * trial), and some more: where looks came at regular multiples, what is emptied at every so many messages
 * would be met further and further on in its round. */
uint64_t leak_watch_step(uint64_t messages, bool on_trial);

#endif
