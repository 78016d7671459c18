/* The configuration as the host uses it: read once from a Lua file, flags and environment, checked,
 * immutable.
 *
 * host/config.c is the only file of the host that knows Lua; the checking itself is scripts/config.lua, which
 * reports every problem it finds, each as a sentence with key, value and what is accepted. */
#ifndef HOST_CONFIG_H
#define HOST_CONFIG_H

#include "common/buffer.h"
#include "common/error.h"
#include "common/log.h"
#include "common/wire.h"
#include "host/retry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_auth { CONFIG_AUTH_PLAIN, CONFIG_AUTH_EXTERNAL };

struct tls_config {
    char *ca;    /* PEM file of authorities; NULL: the system's */
    char *cert;  /* client certificate, PEM; NULL: none */
    char *key;   /* its key, PEM */
    bool verify; /* chain and host name; on unless the configuration turns it off */
};

struct broker_config {
    char **urls; /* at least one; they hold passwords: print them by broker_url_redact only */
    size_t url_count;
    char *management; /* NULL: none; may hold a password, too */
    enum config_auth auth;
    struct tls_config tls;
    int heartbeat_seconds;         /* 0: off */
    int64_t connection_timeout_ns; /* to connect and log in, each */
    int64_t io_timeout_ns;         /* for the broker's answer to a request */
    int64_t wait_ns;               /* how long to keep trying at start; 0: once over the list */
    unsigned max_channels;         /* hard bound, all connections together */
};

enum config_queue_type { CONFIG_QUEUE_CLASSIC, CONFIG_QUEUE_QUORUM };

/* From an exchange to the queue. */
struct binding_config {
    char *exchange;    /* never the default exchange, "" */
    char *routing_key; /* may be "" */
};

/* What `declare` says of the queue; absent numbers are -1, absent texts NULL. */
struct declare_config {
    bool enabled;
    enum config_queue_type type;
    bool has_type; /* x-queue-type is sent only where it is named */
    bool durable;
    int64_t max_length;
    int64_t max_bytes;
    int64_t ttl_ns;
    char *overflow; /* as x-overflow takes it */
    char *dead_letter_exchange;
    char *dead_letter_routing_key;
    bool single_active_consumer;
    int64_t delivery_limit;          /* quorum queues only */
    struct binding_config *bindings; /* made after the declare */
    size_t binding_count;
    /* Of delay queues, which no configuration names: how long an unused queue lasts, and that the broker
     * moves messages on with confirms. */
    int64_t expires_ns;
    bool at_least_once;
};

enum config_ordering { CONFIG_ORDERING_NONE, CONFIG_ORDERING_KEY, CONFIG_ORDERING_HEADER };

struct consumer_config {
    char *name; /* unique in the program: the queue, with "-2" and so on where two share it */
    char *queue;
    char *handler; /* path of the script, relative to the working directory or absolute */
    unsigned workers;
    unsigned concurrency;
    unsigned prefetch;        /* 1 to 65535 */
    int64_t rate_interval_ns; /* 0: no limit; see host/rate.h */
    enum wire_decode decode;
    enum config_ordering ordering;
    char *ordering_header; /* for CONFIG_ORDERING_HEADER */
    struct {
        int64_t memory_bytes;
        int64_t deadline_ns;
        int64_t grace_ns;
        int64_t message_bytes;
    } limits;
    struct {
        int64_t messages;
        int64_t memory_bytes;
        int64_t process_memory_bytes;
    } recycle;
    struct retry_policy retry;
    char *dead_letter; /* NULL: none */
    struct declare_config declare;
    char **http_allow;
    size_t http_allow_count;
    struct {
        char *ca;
        int64_t timeout_ns;
        int64_t response_bytes;
        unsigned per_host;
        unsigned failures;
        int64_t pause_ns;
    } http;
};

/* Whether workers filter their system calls: where the kernel lets them, or else not at all, or never. */
enum config_seccomp { CONFIG_SECCOMP_ON, CONFIG_SECCOMP_REQUIRED, CONFIG_SECCOMP_OFF };

struct config {
    char *file; /* NULL where there is none */
    struct broker_config broker;
    struct {
        int64_t memory_bytes;
        int64_t entries;
        int64_t ttl_ns;
    } cache;
    struct {
        int64_t warning_bytes;
        int64_t critical_bytes;
        int64_t interval_ns;
    } memory;
    struct {
        char *listen;  /* "host:port"; NULL: "off" was asked for */
        bool explicit; /* somebody asked for it: a port that is taken is then an error */
    } status;
    struct {
        enum config_seccomp seccomp;
    } sandbox;
    int64_t shutdown_timeout_ns;
    enum log_level log_level;
    enum log_format log_format;
    unsigned log_handler_lines; /* of each consumer's handlers, in a second */
    int64_t max_messages;       /* --max-messages; 0: no end */
    int64_t exit_when_idle_ns;  /* --exit-when-idle; -1: never */
    struct consumer_config *consumers;
    size_t consumer_count; /* at least 1, and 0 where only the broker was asked for */
};

/* One option of the command line. */
struct config_flag {
    const char *name;  /* without the dashes: "queue", "limits-memory" */
    const char *value; /* NULL where it was given without one */
};

/* What the configuration is made from. All borrowed. */
struct config_source {
    const char *file; /* -c FILE; NULL: moonrabbit.lua in the working directory where it exists, else none */
    bool only_named;  /* where no file is named, none is read */
    const char *handler; /* HANDLER.lua on the command line; NULL: none */
    const struct config_flag *flags;
    size_t flag_count;
    const char *command; /* whose help page has the options; NULL: run */
    bool broker_only; /* for a command that needs no consumers: keys of other groups are no options of it */
    bool consumers_optional; /* for one that makes do without any, where neither file nor flags name one */
    char **environment;      /* of the process: entries that begin with MOONRABBIT_ are looked at */
};

/* NULL where anything is wrong; `problems` then holds one sentence a line, every one that was found. The
 * caller frees with config_free. Reads the file named, and looks whether the files that it names are there.
 */
struct config *config_load(const struct config_source *source, struct buffer *problems);
void config_free(struct config *config);

const char *config_lua_library(void); /* "LuaJIT 2.1.0-beta3" */

#endif
