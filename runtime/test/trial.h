/* One worker on trial: a real worker process that is given one message at a time, without a broker.
 *
 * It is started, fed, heard, timed and killed by the code that the host uses (host/worker_process.h), its
 * verdicts mean what they mean there (host/ruling.h), and it has a cache of its own. What is not here is all
 * that needs a broker. A worker that died is replaced when the next message comes.
 *
 * Calls run libev's default loop until they have their answer; while one does, the processes that the program
 * started otherwise may be reaped by it. */
#ifndef TEST_TRIAL_H
#define TEST_TRIAL_H

#include "common/buffer.h"
#include "common/cache.h"
#include "common/error.h"
#include "common/wire.h"
#include "host/config.h"
#include "host/leaks.h"
#include "host/ledger.h"
#include "host/ruling.h"
#include "host/worker_process.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ev.h>

enum {
    TRIAL_LOGS_BYTES_MAX = 4 * 1024 * 1024,       /* kept of log lines; further ones are counted as lost */
    TRIAL_PUBLISHED_BYTES_MAX = 16 * 1024 * 1024, /* the same for what setup and teardown publish */
};

struct trial_message {
    struct slice attributes; /* as in a WIRE_DELIVER */
    struct slice body;
    uint32_t attempt; /* 1 for the first */
    bool redelivered;
};

/* What the handler did not say itself, or TRIAL_NONE. */
enum trial_cause {
    TRIAL_NONE,
    TRIAL_RAISED, /* it raised an error, or returned what is no verdict */
    TRIAL_MEMORY, /* limits.memory */
    TRIAL_TIME,   /* limits.deadline */
    TRIAL_KILLED, /* its worker died at it, or had to be killed */
    TRIAL_BODY,   /* the body is not what `decode` promises; the handler was not called */
    TRIAL_SIZE,   /* the body is over limits.message; it was not even handed out */
};

struct trial_outcome {
    enum wire_verdict verdict; /* WIRE_ERROR where there is a cause */
    enum trial_cause cause;
    enum ruling_kind ruling; /* what the host would do to the message, at this attempt */
    int64_t elapsed_ns;      /* as the worker told it; as waited, where it died */
    int64_t delay_ns;        /* -1 where the handler named none */
    uint64_t heap_bytes;     /* of the Lua state after the message, with its garbage; 0: it died */
    size_t text_bytes;
    char text[WIRE_TEXT_MAX + 1]; /* the reason or the error */
};

struct trial {
    struct worker_origin origin;
    struct cache cache;
    const struct consumer_config *config; /* borrowed */
    enum log_level log_level;
    struct ev_loop *loop;
    struct worker_process *worker; /* NULL where the next message has to start one */
    struct ledger ledger;          /* of one delivery */
    struct buffer logs;            /* WIRE_LOG frames that came with the message at hand, or the last one */
    struct buffer loose;           /* those that came otherwise: of loading, setup and teardown */
    uint64_t logs_lost;
    struct buffer published; /* by the message at hand, or the last one; as a parcel holds it (parcel.h) */
    struct buffer published_loose; /* by setup and teardown */
    uint64_t published_lost;
    uint64_t processes; /* that have loaded the script so far */
    uint64_t recycled[WIRE_RECYCLE_REASONS];
    struct wire_recycled last_recycled; /* reason NONE where there was none yet */
    struct leaks leaks;                 /* told so far, by all processes and states */
    struct wire_looked looked;          /* the last answer to trial_look */
    bool has_looked;
    struct trial_outcome *outcome; /* of the message at hand; else NULL */
    bool answered;                 /* the message at hand, or the last one */
    bool gone;                     /* the worker is WORKER_GONE */
};

/* Starts the worker and waits until the script is loaded; false with error where it does not load. Both
 * configurations are borrowed until trial_clear, which must follow either way. */
bool trial_init(struct trial *trial, const struct config *config, const struct consumer_config *consumer,
                struct error *error);

/* Hands the message over and waits for what comes of it. False only where that cannot be found out: the
 * worker cannot be started anew, or the attributes are too large. */
bool trial_deliver(struct trial *trial, const struct trial_message *message, struct trial_outcome *ret,
                   struct error *error);

/* Exchanges the Lua state for a new one, after a full collection: what *ret has in heap_bytes lived. */
bool trial_recycle(struct trial *trial, struct wire_recycled *ret, struct error *error);

/* Looks for leaks: what has grown in the state until now joins trial.leaks, and trial.looked tells of the
 * looking. A worker that is gone, and nothing has been delivered since, has nothing left that could leak. */
void trial_look(struct trial *trial);

/* Lets the worker run its teardown and exit; nothing may be delivered after it. */
void trial_stop(struct trial *trial);

/* Kills what is left, and frees. */
void trial_clear(struct trial *trial);

#endif
