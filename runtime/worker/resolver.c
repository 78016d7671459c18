/* Looking up names; see resolver.h. */
#include "worker/resolver.h"

#include "common/clock.h"
#include "worker/allow.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRY_MS = 2000, TRIES = 3 };

struct resolver_socket {
    struct resolver_socket *next;
    ev_io watcher;
};

struct resolver_name {
    struct resolver_name *next;
    struct resolver *resolver;
    bool pending;
    int64_t until_ns;       /* how long `resolved` is good */
    struct lookup *waiting; /* while pending */
    struct resolved resolved;
    char name[256];
};

/* Sockets and time */

static void set_timer(struct resolver *resolver)
{
    struct timeval left;
    ev_timer_stop(resolver->loop, &resolver->timer);
    if (!resolver->libraries->ares_timeout(resolver->channel, NULL, &left))
        return;
    ev_timer_set(&resolver->timer, (double)left.tv_sec + (double)left.tv_usec / 1e6, 0);
    ev_timer_start(resolver->loop, &resolver->timer);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct resolver *resolver = timer->data;
    (void)loop;
    (void)events;
    resolver->libraries->ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(resolver);
}

static void on_socket(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct resolver *resolver = watcher->data;
    int fd = watcher->fd;
    (void)loop;
    resolver->libraries->ares_process_fd(resolver->channel, events & EV_READ ? fd : ARES_SOCKET_BAD,
                                         events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    set_timer(resolver);
}

static void forget_socket(struct resolver *resolver, int fd)
{
    for (struct resolver_socket **link = &resolver->sockets; *link; link = &(*link)->next) {
        struct resolver_socket *socket = *link;
        if (socket->watcher.fd != fd)
            continue;
        ev_io_stop(resolver->loop, &socket->watcher);
        *link = socket->next;
        free(socket);
        return;
    }
}

/* c-ares opens, uses or closes a socket. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = data;
    forget_socket(resolver, fd);
    if (!readable && !writable)
        return;
    struct resolver_socket *socket = calloc(1, sizeof *socket);
    if (!socket)
        return; /* the query runs out of time */
    ev_io_init(&socket->watcher, on_socket, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    socket->watcher.data = resolver;
    socket->next = resolver->sockets;
    resolver->sockets = socket;
    ev_io_start(resolver->loop, &socket->watcher);
}

/* Answers */

static void add_address(struct resolved *resolved, const struct sockaddr *address, socklen_t size)
{
    char text[NI_MAXHOST];
    if (resolved->count == RESOLVER_ADDRESSES_MAX ||
        getnameinfo(address, size, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0 || strchr(text, '%'))
        return;
    int written = snprintf(resolved->addresses[resolved->count].text, sizeof resolved->addresses[0].text,
                           strchr(text, ':') ? "[%s]" : "%s", text);
    if (written < 0 || (size_t)written >= sizeof resolved->addresses[0].text)
        return;
    resolved->addresses[resolved->count].is_private = allow_is_private(address);
    resolved->count++;
}

static void tell(struct resolver_name *name, const char *problem)
{
    struct lookup *waiting = name->waiting;
    name->waiting = NULL;
    while (waiting) {
        struct lookup *lookup = waiting;
        waiting = lookup->next;
        lookup->done(lookup, problem ? NULL : &name->resolved, problem);
    }
}

static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct resolver_name *name = data;
    const struct libraries *libraries = name->resolver->libraries;
    (void)timeouts;
    name->pending = false;
    name->resolved.count = 0;
    for (const struct ares_addrinfo_node *node = answer ? answer->nodes : NULL; node; node = node->ai_next)
        add_address(&name->resolved, node->ai_addr, node->ai_addrlen);
    if (answer)
        libraries->ares_freeaddrinfo(answer);
    if (status == ARES_EDESTRUCTION)
        return;
    bool found = status == ARES_SUCCESS && name->resolved.count > 0;
    name->until_ns = found ? clock_now_ns() + RESOLVER_KEEP_NS : 0;
    tell(name, found                    ? NULL
               : status == ARES_SUCCESS ? "it has no address"
                                        : libraries->ares_strerror(status));
}

/* Names */

static struct resolver_name *find(const struct resolver *resolver, const char *text)
{
    struct resolver_name *name = resolver->names;
    while (name && strcmp(name->name, text) != 0)
        name = name->next;
    return name;
}

/* One that nobody waits for, the longest known one. */
static void make_room(struct resolver *resolver)
{
    struct resolver_name **oldest = NULL;
    for (struct resolver_name **link = &resolver->names; *link; link = &(*link)->next) {
        if (!(*link)->pending && (!oldest || (*link)->until_ns < (*oldest)->until_ns))
            oldest = link;
    }
    if (!oldest)
        return;
    struct resolver_name *name = *oldest;
    *oldest = name->next;
    free(name);
    resolver->count--;
}

static struct resolver_name *add(struct resolver *resolver, const char *text)
{
    if (resolver->count == RESOLVER_NAMES_MAX)
        make_room(resolver);
    if (resolver->count == RESOLVER_NAMES_MAX || strlen(text) >= sizeof((struct resolver_name *)0)->name)
        return NULL;
    struct resolver_name *name = calloc(1, sizeof *name);
    if (!name)
        return NULL;
    name->resolver = resolver;
    memcpy(name->name, text, strlen(text) + 1);
    name->next = resolver->names;
    resolver->names = name;
    resolver->count++;
    return name;
}

void resolver_find(struct resolver *resolver, const char *text, struct lookup *lookup)
{
    static const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct resolver_name *name = find(resolver, text);
    if (!name)
        name = add(resolver, text);
    if (!name) {
        lookup->done(lookup, NULL, "too many names are being looked up, or it is too long");
        return;
    }
    if (!name->pending && clock_now_ns() < name->until_ns) {
        lookup->done(lookup, &name->resolved, NULL);
        return;
    }
    lookup->next = name->waiting;
    name->waiting = lookup;
    if (name->pending)
        return;
    name->pending = true;
    resolver->libraries->ares_getaddrinfo(resolver->channel, name->name, NULL, &hints, on_answer, name);
    ev_now_update(resolver->loop);
    set_timer(resolver);
}

void resolver_cancel(struct resolver *resolver, const struct lookup *lookup)
{
    for (struct resolver_name *name = resolver->names; name; name = name->next) {
        for (struct lookup **link = &name->waiting; *link; link = &(*link)->next) {
            if (*link == lookup) {
                *link = lookup->next;
                return;
            }
        }
    }
}

/* Life */

bool resolver_open(struct resolver *resolver, const struct libraries *libraries, struct ev_loop *loop,
                   struct error *error)
{
    struct ares_options options = {
        .timeout = TRY_MS, .tries = TRIES, .sock_state_cb = on_socket_state, .sock_state_cb_data = resolver
    };
    *resolver = (struct resolver){ .libraries = libraries, .loop = loop };
    ev_init(&resolver->timer, on_timer);
    resolver->timer.data = resolver;
    int failure = libraries->ares_init_options(&resolver->channel, &options,
                                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (failure == ARES_SUCCESS)
        return true;
    resolver->channel = NULL;
    return error_set(error, ERROR_FAILED, "cannot look up names of hosts: %s",
                     libraries->ares_strerror(failure));
}

void resolver_close(struct resolver *resolver)
{
    if (!resolver->channel)
        return;
    ev_timer_stop(resolver->loop, &resolver->timer);
    resolver->libraries->ares_destroy(resolver->channel);
    while (resolver->sockets)
        forget_socket(resolver, resolver->sockets->watcher.fd);
    while (resolver->names) {
        struct resolver_name *name = resolver->names;
        resolver->names = name->next;
        free(name);
    }
    *resolver = (struct resolver){ .channel = NULL };
}
