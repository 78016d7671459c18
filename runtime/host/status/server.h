/* A small HTTP server on the program's own loop: one request on each connection, answered from memory.
 *
 * Clients may be slow, broken or hostile, and the program must not notice: everything about a connection is
 * bounded. There are SERVER_CLIENTS_MAX of them, and SERVER_ADDRESS_MAX from one address; who comes when all
 * places are taken gets that of the oldest. Each ends when SERVER_LIFE_NS are over, whatever it is at, and
 * SERVER_PER_SECOND begin in a second; more wait in the kernel. Its watchers come after all others in a turn
 * of the loop.
 *
 * One that listens on loopback is for this machine, and so are the names by which it may be asked: a page in
 * a browser here, whose own name has been made to lead here, would read it otherwise. */
#ifndef HOST_STATUS_SERVER_H
#define HOST_STATUS_SERVER_H

#include "common/buffer.h"
#include "common/clock.h"
#include "common/error.h"
#include "host/status/http.h"

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#define SERVER_LIFE_NS (10 * CLOCK_NS_PER_SECOND)

enum {
    SERVER_CLIENTS_MAX = 64,
    SERVER_ADDRESS_MAX = 32,
    SERVER_PER_SECOND = 200,
    SERVER_NAME_MAX = 64,   /* "[address]:port" */
    SERVER_HOST_MAX = 1025, /* NI_MAXHOST */
};

/* What is sent; several clients may be sent the same at once. */
struct document {
    unsigned users;
    struct buffer text;
    struct slice bytes; /* of `text`, or of somebody who outlives the server */
};

struct document *document_new(size_t limit_bytes); /* one user; NULL without memory */
void document_seal(struct document *document);     /* its text is written: that is its bytes */
void document_release(struct document *document);  /* NULL is allowed */

struct answer {
    unsigned code;
    const char *type;          /* the content type */
    struct document *document; /* the server releases it; NULL: there was no memory */
};

struct server_client;

struct server {
    struct ev_loop *loop;
    /* Called for each GET and HEAD. */
    void (*respond)(void *owner, struct slice path, struct answer *answer);
    void *owner;
    int fd;                     /* valid when loop is not NULL */
    char name[SERVER_NAME_MAX]; /* where it listens */
    char host[SERVER_HOST_MAX]; /* the same as it was asked for, without the port */
    bool is_local;              /* for this machine alone: who asks for another host is refused */
    struct server_client *oldest;
    struct server_client *newest;
    unsigned client_count;
    unsigned begun;    /* in the second at hand */
    int64_t second_ns; /* when that began */
    ev_io acceptable;
    ev_timer resume; /* accepts again */
};

/* Listens at "host:port", or "[address]:port"; port 0 takes a free one. The caller has set `respond` and
 * `owner`. False with an error that says why not. */
bool server_open(struct server *server, struct ev_loop *loop, const char *listen, struct error *error);
void server_close(struct server *server); /* drops what is under way; also for one that was never opened */

#endif
