/* One worker process as the host sees it: started, spoken to over its socket, ended, and never trusted.
 *
 * The worker is this same binary, started by fork and exec with nothing but its socket, memory that it shares
 * with the host, and no environment. Deliveries are written to it straight from the ledger's memory, many in
 * one call; what the socket does not take at once of a frame is copied aside, so an entry of the ledger is
 * never pinned by a slow worker. Large bodies are copied to its shelf instead, as far as there is room. Every
 * event is told to the owner; after `gone` the owner frees. A worker that breaks the protocol is killed. */
#ifndef HOST_WORKER_PROCESS_H
#define HOST_WORKER_PROCESS_H

#include "common/board.h"
#include "common/buffer.h"
#include "common/error.h"
#include "common/shelf.h"
#include "common/wire.h"
#include "host/config.h"
#include "host/ledger.h"
#include "host/shelf_places.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ev.h>

enum worker_state {
    WORKER_STARTING, /* no WIRE_READY yet */
    WORKER_READY,
    WORKER_STOPPING, /* was sent WIRE_STOP */
    WORKER_GONE,
};

enum {
    WORKER_BATCH_MAX = 64,        /* deliveries written in one call */
    WORKER_LAID_LEAST = 8 * 1024, /* smaller bodies go through the socket */
};

struct worker_process;

/* What a WIRE_LEAK speaks of, in words: within their bounds, and else whatever the worker likes. */
struct leak_names {
    struct slice path;
    struct slice kind;
    struct slice sample;
};

/* None of them may free the worker but `gone`, which is the last. */
struct worker_events {
    void (*ready)(void *owner, struct worker_process *worker);
    /* `messages` is what the handler published, as a parcel holds it (parcel.h): empty, or with a WIRE_ACK.
     * Its content may be taken away, by a swap. */
    void (*result)(void *owner, struct worker_process *worker, const struct wire_result *result,
                   struct slice text, struct buffer *messages);
    /* One message that setup or teardown published. */
    void (*published)(void *owner, struct worker_process *worker, struct slice message);
    void (*log)(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes);
    void (*recycled)(void *owner, struct worker_process *worker, const struct wire_recycled *recycled);
    void (*leak)(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                 const struct leak_names *names);
    void (*looked)(void *owner, struct worker_process *worker, const struct wire_looked *looked);
    void (*gone)(void *owner, struct worker_process *worker);
};

struct worker_process {
    const struct worker_events *events;
    void *owner;
    struct ev_loop *loop;
    unsigned lane; /* its place among the consumer's workers: 0 .. workers - 1 */
    enum worker_state state;
    pid_t pid;
    int fd;
    struct board *board;
    struct shelf shelf;
    struct shelf_places places; /* on it: of messages that it has not answered */
    ev_io readable;
    ev_io writable;
    ev_child child;
    ev_timer closing;    /* kills the process where it outlives its socket */
    ev_timer overdue;    /* kills it where it makes no progress for `patience_ns`, or does not start */
    int64_t patience_ns; /* limits.deadline + limits.grace */
    int64_t progress_ns; /* it was spawned, given work while idle, told to stop, or answered */
    struct buffer in;
    struct buffer out;      /* the rest of a frame that the socket did not take, or a control frame */
    struct buffer messages; /* that it has published and not given the result for */
    unsigned message_count;
    uint64_t message_seq; /* whose they are; valid with a count */
    uint64_t messages_bytes_max;
    uint32_t piece_missing; /* of the body of the last */
    uint64_t next_seq;
    unsigned looking;      /* answers to WIRE_LOOK that have not come */
    unsigned unanswered;   /* deliveries sent, results not come; some may have left the ledger meanwhile */
    bool was_ready;        /* it has sent WIRE_READY */
    bool ran_over;         /* ended because it made no progress */
    bool dismissed;        /* told to stop, or killed by the end: its end is no surprise */
    bool revoked;          /* worker_revoke was called, and what it took back has not all been answered */
    uint64_t revoked_from; /* valid while revoked, as is */
    uint64_t revoked_left; /* how many of those from there on are unanswered */
    unsigned concurrency;  /* how many messages it runs at once */
    unsigned
        returnable; /* messages that it may still answer by WIRE_RETURNED: the others of its last failure */
    struct buffer open;    /* where that is more than one: the seqs that it has not answered */
    uint64_t answered_seq; /* the largest that it has answered: where it runs one at a time each in its turn;
                              0 before the first */
    int64_t service_ns;    /* how long a message takes, smoothed; 0 before the first */
    int64_t started_ns;
    uint64_t answered;
    uint64_t recycles;      /* new Lua states that it has told of */
    int64_t resident_bytes; /* its own, as the monitor found last; 0 before the first look */
    int64_t relief_ns;      /* when the monitor asked it for a new state last; 0: never */
    uint64_t relief_after;  /* `recycles` of then */
    char script[256];       /* its path, for people: cut where longer */
    char reason[256];       /* valid when gone: "exit status 1", "killed by signal 9 (Killed)", ... */
    char last_words[WIRE_TEXT_MAX + 1]; /* text of WIRE_FAILED, or why the host ended it; else empty */
};

/* What every worker is started from; both descriptors are the program's. */
struct worker_origin {
    int program_fd;
    int cache_fd;  /* of the shared cache */
    bool seccomp;  /* whether workers filter their system calls */
    bool on_trial; /* whether they look for leaks from the first messages on, whatever it costs */
};

/* The descriptor of this program's own file, from which workers are started even after the file was replaced.
 */
int worker_program_open(struct error *error);

struct worker_process *worker_spawn(struct ev_loop *loop, const struct worker_origin *origin,
                                    const struct consumer_config *config, unsigned lane,
                                    const struct worker_events *events, void *owner, struct error *error);

/* Kills the process if it is there, waits for it and frees; tells nobody. For the end of the program and for
 * a worker that the owner has let go of. */
void worker_free(struct worker_process *worker);

/* How many of these deliveries the worker takes now: they are stamped and dispatched in the ledger, in order.
 * The others are as they were. One for which its shelf has no room is taken all the same, unless the worker
 * has enough to do until there is. */
unsigned worker_send(struct worker_process *worker, struct ledger *ledger, struct delivery *const *batch,
                     unsigned count);

/* Memory that it shares with the host and that both have touched; neither's own is that. */
int64_t worker_shelf_bytes(const struct worker_process *worker);

/* Whether worker_send would take anything. */
bool worker_accepts(const struct worker_process *worker);

/* Takes back what it was given from `seq` on and has not begun; it is given nothing new until it has answered
 * all of that. Returns the first seq that surely is not begun (common/board.h). */
uint64_t worker_revoke(struct worker_process *worker, uint64_t seq);

/* Asks for a new Lua state: before the next message, and when none is under way. */
void worker_recycle(struct worker_process *worker);

/* Asks what grows in it: it tells by `leak`, and then by `looked`. */
void worker_look(struct worker_process *worker);

/* Asks for an end in order: the worker answers what it has, runs teardown and exits. */
void worker_stop(struct worker_process *worker);
/* Ends it for certain; `gone` follows. */
void worker_kill(struct worker_process *worker);

/* The seq of the message that it has begun last, and when, where any is under way; false where none is, as
 * far as its page tells. */
bool worker_begun(const struct worker_process *worker, uint64_t *ret_seq, int64_t *ret_since_ns);

/* The seq of the message that it is at: if it dies now, that one has done it. False where it is at none:
 * there may be messages under way that all wait. */
bool worker_running(const struct worker_process *worker, uint64_t *ret_seq);

/* Whether it has begun this message of those that it has not answered, as far as its page tells. */
bool worker_has_begun(const struct worker_process *worker, uint64_t seq);

#endif
