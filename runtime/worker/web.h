/* Requests of handlers by HTTP, on libcurl's multi interface and the worker's loop. Knows no Lua: lua_http.c
 * is the module.
 *
 * A request goes to a host that http.allow names, and nowhere else: names are looked up here (resolver.h), an
 * address that is not public is refused unless the entry names the host itself, and libcurl is given the
 * addresses that were looked at; it is asked again before each connection. Redirects are followed here, each
 * as a request of its own. Time, size, redirects, connections, and the bytes of all answers together are
 * bounded. Connections are kept for the next request to the same host. */
#ifndef WORKER_WEB_H
#define WORKER_WEB_H

#include "common/buffer.h"
#include "common/error.h"
#include "common/wire.h"
#include "worker/breaker.h"
#include "common/libraries.h"
#include "worker/resolver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ev.h>

enum {
    WEB_HOSTS_MAX = 64,           /* whose failures are counted; the longest unused goes */
    WEB_HEADERS_MAX = 64,         /* of a request */
    WEB_HEADER_BYTES = 64 * 1024, /* of an answer, all together */
    WEB_REDIRECTS_MAX = 20,
    WEB_REDIRECTS_USUAL = 5,
    WEB_METHOD_MAX = 16,
    WEB_URL_MAX = 8192,
    WEB_PROBLEM_MAX = 512,
};

/* What http.* of the configuration says; the texts are in the setup's attributes, which stay. */
struct web_config {
    struct slice attributes; /* WIRE_HTTP_ALLOW, one for each entry */
    const char *authorities; /* a file of certificates */
    int64_t timeout_ns;
    uint64_t response_bytes; /* largest body */
    unsigned per_host;       /* connections */
    unsigned failures;       /* in a row open a host's breaker; 0: never */
    int64_t pause_ns;        /* as long */
    unsigned concurrency;    /* requests at once */
    uint64_t held_bytes;     /* of all answers that are under way */
};

struct web_host {
    char name[256 + 8]; /* "host:port"; empty: free */
    int64_t used_ns;
    unsigned asking;
    struct breaker breaker;
};

struct web {
    const struct libraries *libraries; /* NULL: not open */
    struct web_config config;
    struct ev_loop *loop;
    CURLM *multi;
    ev_timer timer;
    struct resolver resolver;
    struct web_host hosts[WEB_HOSTS_MAX];
    uint64_t held_bytes;
};

/* What is asked for. Borrowed. */
struct web_request {
    const char *url;
    const char *method;
    const char *const *headers; /* "name: value" */
    unsigned header_count;
    struct slice body;
    bool has_body;
    int64_t timeout_ns;
    uint64_t response_bytes;
    unsigned redirects;
};

/* An answer, or `problem`. Valid until web_free. */
struct web_answer {
    const char *problem; /* NULL: there is an answer */
    long status;
    struct slice headers; /* "name: value\r\n" each, of the last response */
    struct slice body;
};

struct web_transfer;

/* Before the process is confined. False with error. */
bool web_open(struct web *web, const struct web_config *config, struct ev_loop *loop, struct error *error);
void web_close(struct web *web); /* when no transfer is left */

/* Begins; NULL where there is no memory. `done` is called from the loop, or from web_start. */
struct web_transfer *web_new(struct web *web, const struct web_request *request, void (*done)(void *owner),
                             void *owner);
void web_start(struct web_transfer *transfer);
struct web_answer web_answer(const struct web_transfer *transfer);
/* Also where nobody waits for the answer any more. Never from `done`. */
void web_free(struct web_transfer *transfer);

#endif
