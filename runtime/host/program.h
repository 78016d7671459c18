/* The running program: its loop, its broker, its consumers, and which configuration each of them lives by.
 * Shared by host.c (its life) and reload.c (its change). */
#ifndef HOST_PROGRAM_H
#define HOST_PROGRAM_H

#include "common/cache.h"
#include "host/broker.h"
#include "host/budget.h"
#include "host/config.h"
#include "host/consumer.h"
#include "host/monitor.h"
#include "host/probe.h"
#include "host/status/status.h"

#include <stdbool.h>

#include <ev.h>

/* A configuration lives as long as a consumer lives by it, or is just changing to it. */
struct shared_config {
    const struct config *config;
    struct config
        *owned; /* the same where a reload read it; NULL for the first, which belongs to the caller */
    unsigned users;
};

struct member {
    struct consumer *consumer;
    struct shared_config *shared;
    struct shared_config *next_shared; /* while its workers are being replaced */
    bool joining;                      /* began with a reload, and does not consume yet */
    bool replaces;                     /* when it does, the older member of the same name leaves */
    uint64_t delivered_before;         /* until the last look at how much comes */
    bool ended;                        /* to be freed by the next turn, not inside its own call */
    struct member *next;
};

enum program_phase { PROGRAM_STARTING, PROGRAM_RUNNING, PROGRAM_STOPPING, PROGRAM_STOPPED };

struct program {
    struct ev_loop *loop;
    const struct config_source *source;
    struct shared_config *shared; /* the newest that was taken */
    struct broker broker;         /* consumes */
    struct outlet outlet;         /* publishes */
    struct budget budget;
    struct cache cache;
    struct monitor monitor;
    struct probe probe;
    struct status status;
    struct consumer_context context;
    enum config_seccomp seccomp; /* as of the start: a reload does not change it */
    struct member *members;
    enum program_phase phase;
    bool check_only; /* stop when every worker is ready; connect to nothing */
    bool hurried;    /* shutdown_timeout is over, workers were killed */
    bool closing;    /* all consumers have ended, the connections are being closed */
    bool outlet_started;
    bool reload_waits; /* SIGHUP came while the program started */
    uint64_t reconnects;
    int64_t gathered_ns; /* when it was last reckoned how long to let messages gather */
    int64_t started_ns;  /* monotonic */
    int64_t started_at;  /* the same, in Unix time, seconds */
    int64_t exit_when_idle_ns;
    int64_t shutdown_timeout_ns;
    int exit_code;
    struct error failure;
    ev_prepare turn;
    ev_signal interrupt;
    ev_signal terminate;
    ev_signal hangup;
    ev_timer idle;
    ev_timer shutdown;
    ev_timer flush_log;
    ev_timer tick; /* runs while something ends: an end has steps that no event of its own announces */
};

struct shared_config *shared_config_new(const struct config *config, struct config *owned);
void shared_config_release(struct shared_config *shared);

/* Starts a consumer and adds it; NULL with an error. */
struct member *program_add(struct program *program, struct shared_config *shared,
                           const struct consumer_config *config, struct error *error);
/* The members that are shown, one after the other (NULL: the first; NULL at the end): those that consume, and
 * of two with one name, which a reload makes for a moment, the new one. */
const struct member *program_next_shown(const struct program *program, const struct member *after);
struct member *program_find(const struct program *program, const struct consumer *consumer);

/* Ends in order: nothing is lost, workers finish what they are at. */
void program_stop(struct program *program);
/* As program_stop, with this error as the reason. */
void program_fail(struct program *program, const struct error *error);

/* reload.c: SIGHUP, and what its new workers and consumers come to. */
void program_reload(struct program *program);
void program_member_ready(struct program *program, struct member *member);
void program_member_joined(struct program *program, struct member *member);
void program_member_failed(struct program *program, struct member *member, const struct error *error);
void program_member_reloaded(struct program *program, struct member *member, const struct error *error);

#endif
