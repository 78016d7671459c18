/* Accepting, reading, answering, closing; see server.h. */
#include "host/status/server.h"

#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    PRIORITY = -1,
    PASSED_OVER_MAX = 64 * 1024, /* of what comes behind a request */
};

/* Where a descriptor cannot be had, the next try waits so long. */
static const double pause_seconds = 0.5;

enum client_state {
    CLIENT_ASKING,
    CLIENT_ANSWERED,  /* its answer is being sent */
    CLIENT_LINGERING, /* all was sent: what it still says is passed over, or it would lose the answer */
};

struct server_client {
    struct server *server;
    struct server_client *older;
    struct server_client *newer;
    enum client_state state;
    int fd;
    struct in6_addr address;
    ev_io ready;
    ev_timer life;
    struct document *document; /* valid when answered */
    struct slice head_left;
    struct slice body_left;
    size_t request_bytes;
    size_t passed_over; /* bytes, while lingering */
    char head[HTTP_HEAD_MAX];
    char request[HTTP_REQUEST_MAX];
};

/* Documents */

struct document *document_new(size_t limit_bytes)
{
    struct document *document = calloc(1, sizeof *document);
    if (!document)
        return NULL;
    document->users = 1;
    buffer_init(&document->text, limit_bytes);
    return document;
}

void document_seal(struct document *document)
{
    document->bytes = (struct slice){ .data = document->text.data, .size = document->text.size };
}

void document_release(struct document *document)
{
    if (!document || --document->users > 0)
        return;
    buffer_clear(&document->text);
    free(document);
}

/* Clients */

static void drop(struct server_client *client)
{
    struct server *server = client->server;
    ev_io_stop(server->loop, &client->ready);
    ev_timer_stop(server->loop, &client->life);
    *(client->older ? &client->older->newer : &server->oldest) = client->newer;
    *(client->newer ? &client->newer->older : &server->newest) = client->older;
    server->client_count--;
    (void)close(client->fd);
    document_release(client->document);
    free(client);
}

static void on_life(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    drop(watcher->data);
}

static void watch(struct server_client *client, int events)
{
    struct ev_loop *loop = client->server->loop;
    ev_io_stop(loop, &client->ready);
    ev_io_set(&client->ready, client->fd, events);
    ev_io_start(loop, &client->ready);
}

/* Sends what goes out now; false where the client is gone. */
static bool send_some(struct server_client *client)
{
    struct iovec pieces[2] = {
        { .iov_base = (char *)client->head_left.data, .iov_len = client->head_left.size },
        { .iov_base = (char *)client->body_left.data, .iov_len = client->body_left.size },
    };
    const struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
    ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    size_t of_head = (size_t)sent < client->head_left.size ? (size_t)sent : client->head_left.size;
    size_t of_body = (size_t)sent - of_head;
    client->head_left.data += of_head;
    client->head_left.size -= of_head;
    client->body_left.data += of_body;
    client->body_left.size -= of_body;
    return true;
}

static void send_answer(struct server_client *client)
{
    if (!send_some(client)) {
        drop(client);
    } else if (client->head_left.size + client->body_left.size > 0) {
        watch(client, EV_WRITE);
    } else {
        client->state = CLIENT_LINGERING;
        (void)shutdown(client->fd, SHUT_WR);
        watch(client, EV_READ);
    }
}

/* The phrase, or a sentence where one is given. */
static void set_plain(struct answer *answer, unsigned code, const char *sentence)
{
    static const size_t limit_bytes = 256;
    answer->code = code;
    answer->type = "text/plain; charset=utf-8";
    answer->document = document_new(limit_bytes);
    if (!answer->document)
        return;
    (void)buffer_printf(&answer->document->text, "%s\n", sentence ? sentence : http_phrase(code));
    document_seal(answer->document);
}

/* `with_body` is false for HEAD. */
static void begin_answer(struct server_client *client, const struct answer *answer, bool with_body)
{
    struct buffer head;
    if (!answer->document) {
        drop(client);
        return;
    }
    buffer_init(&head, sizeof client->head);
    http_put_head(&head, answer->code, answer->type, answer->document->bytes.size);
    assert(!head.failed || !head.data);
    if (!head.failed)
        memcpy(client->head, head.data, head.size);
    client->state = CLIENT_ANSWERED;
    client->document = answer->document;
    client->head_left = (struct slice){ .data = client->head, .size = head.failed ? 0 : head.size };
    client->body_left = with_body ? answer->document->bytes : (struct slice){ .data = "", .size = 0 };
    buffer_clear(&head);
    send_answer(client);
}

static void refuse(struct server_client *client, unsigned code, const char *sentence)
{
    struct answer answer;
    set_plain(&answer, code, sentence);
    begin_answer(client, &answer, true);
}

static void answer_request(struct server_client *client, const struct http_request *request)
{
    struct server *server = client->server;
    struct answer answer = { .code = 404 };
    if (server->is_local && !http_host_is_local(request->host, server->host)) {
        set_plain(&answer, 421,
                  "This listener is for its own machine: ask it as localhost or by its address. For others "
                  "let status.listen be an address of the network.");
        begin_answer(client, &answer, request->method != HTTP_HEAD);
        return;
    }
    if (request->method == HTTP_OTHER) {
        refuse(client, 405, NULL);
        return;
    }
    server->respond(server->owner, request->path, &answer);
    if (answer.code == 404)
        set_plain(&answer, 404, NULL);
    begin_answer(client, &answer, request->method == HTTP_GET);
}

static void hear(struct server_client *client)
{
    struct http_request request;
    size_t room = sizeof client->request - client->request_bytes;
    ssize_t size = recv(client->fd, client->request + client->request_bytes, room, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        drop(client);
        return;
    }
    client->request_bytes += (size_t)size;
    switch (http_next((struct slice){ client->request, client->request_bytes }, &request)) {
    case HTTP_REQUEST:
        answer_request(client, &request);
        break;
    case HTTP_BROKEN:
        refuse(client, 400, NULL);
        break;
    case HTTP_MORE:
        if (client->request_bytes == sizeof client->request)
            refuse(client, 431, NULL);
        break;
    }
}

static void pass_over(struct server_client *client)
{
    ssize_t size = recv(client->fd, client->request, sizeof client->request, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    client->passed_over += size > 0 ? (size_t)size : 0;
    if (size <= 0 || client->passed_over > PASSED_OVER_MAX)
        drop(client);
}

static void on_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct server_client *client = watcher->data;
    switch (client->state) {
    case CLIENT_ASKING:
        hear(client);
        break;
    case CLIENT_ANSWERED:
        send_answer(client);
        break;
    case CLIENT_LINGERING:
        pass_over(client);
        break;
    }
}

/* Accepting */

static struct in6_addr address_of(const struct sockaddr_storage *peer)
{
    struct in6_addr address = { 0 };
    if (peer->ss_family == AF_INET6)
        address = ((const struct sockaddr_in6 *)peer)->sin6_addr;
    else if (peer->ss_family == AF_INET)
        memcpy(&address, &((const struct sockaddr_in *)peer)->sin_addr, sizeof(struct in_addr));
    return address;
}

static bool same_address(const struct in6_addr *one, const struct in6_addr *other)
{
    return memcmp(one, other, sizeof *one) == 0;
}

/* The oldest makes way: of the same address where that has its share, of all where all places are taken. */
static void make_room(struct server *server, const struct in6_addr *address)
{
    struct server_client *oldest_of_it = NULL;
    unsigned of_it = 0;
    for (struct server_client *client = server->newest; client; client = client->older) {
        if (!same_address(&client->address, address))
            continue;
        oldest_of_it = client;
        of_it++;
    }
    if (of_it >= SERVER_ADDRESS_MAX)
        drop(oldest_of_it);
    else if (server->client_count >= SERVER_CLIENTS_MAX)
        drop(server->oldest);
}

static void admit(struct server *server, int fd, const struct sockaddr_storage *peer)
{
    struct in6_addr address = address_of(peer);
    make_room(server, &address);
    struct server_client *client = calloc(1, sizeof *client);
    if (!client) {
        (void)close(fd);
        return;
    }
    client->server = server;
    client->fd = fd;
    client->address = address;
    client->older = server->newest;
    *(server->newest ? &server->newest->newer : &server->oldest) = client;
    server->newest = client;
    server->client_count++;
    ev_io_init(&client->ready, on_ready, fd, EV_READ);
    ev_timer_init(&client->life, on_life, (double)SERVER_LIFE_NS / 1e9, 0);
    ev_set_priority(&client->ready, PRIORITY);
    ev_set_priority(&client->life, PRIORITY);
    client->ready.data = client->life.data = client;
    ev_io_start(server->loop, &client->ready);
    ev_timer_start(server->loop, &client->life);
}

static void pause_accepting(struct server *server, double seconds)
{
    ev_io_stop(server->loop, &server->acceptable);
    ev_timer_set(&server->resume, seconds, 0);
    ev_timer_start(server->loop, &server->resume);
}

static void on_resume(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct server *server = watcher->data;
    ev_io_start(loop, &server->acceptable);
}

/* One for each turn: whatever else there is to do comes in between. */
static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct server *server = watcher->data;
    struct sockaddr_storage peer = { 0 };
    socklen_t size = sizeof peer;
    int64_t now_ns = clock_now_ns();
    if (now_ns - server->second_ns >= CLOCK_NS_PER_SECOND) {
        server->second_ns = now_ns;
        server->begun = 0;
    }
    if (server->begun >= SERVER_PER_SECOND) {
        pause_accepting(server, (double)(server->second_ns + CLOCK_NS_PER_SECOND - now_ns) / 1e9);
        return;
    }
    int fd = accept4(server->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        server->begun++;
        admit(server, fd, &peer);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        pause_accepting(server, pause_seconds);
    }
}

/* Life */

/* "host:port" or "[address]:port", which the configuration has checked. */
static bool split(const char *listen, char host[SERVER_HOST_MAX], const char **ret_port)
{
    const char *colon = strrchr(listen, ':');
    size_t size = colon ? (size_t)(colon - listen) : 0;
    if (!colon || size >= SERVER_HOST_MAX)
        return false;
    if (size >= 2 && *listen == '[' && listen[size - 1] == ']') {
        listen++;
        size -= 2;
    }
    memcpy(host, listen, size);
    host[size] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int listen_on(const struct addrinfo *address)
{
    const int on = 1;
    int fd =
        socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0)
        return -1;
    /* What an earlier run has left in TIME_WAIT does not count as taken. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int number = errno;
    (void)close(fd);
    errno = number;
    return -1;
}

_Static_assert(SERVER_HOST_MAX == NI_MAXHOST, "a host's name has to fit");

static bool is_loopback(const struct sockaddr_storage *address)
{
    struct in6_addr v6;
    struct in_addr v4;
    memcpy(&v4, &((const struct sockaddr_in *)address)->sin_addr, sizeof v4);
    memcpy(&v6, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof v6);
    if (address->ss_family == AF_INET)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == IN_LOOPBACKNET);
}

static void name_address(int fd, struct server *server)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof address;
    char host[INET6_ADDRSTRLEN + 16] = "";
    char port[8] = "";
    (void)getsockname(fd, (struct sockaddr *)&address, &size);
    (void)getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    server->is_local = is_loopback(&address);
    (void)snprintf(server->name, sizeof server->name,
                   address.ss_family == AF_INET6 ? "[%.48s]:%s" : "%.48s:%s", host, port);
}

/* The first of the host's addresses that can be had. */
static int open_socket(const char *listen, struct error *error)
{
    const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char host[SERVER_HOST_MAX];
    const char *port;
    int fd = -1;
    int problem = split(listen, host, &port) ? getaddrinfo(host, port, &hints, &found) : EAI_NONAME;
    if (problem != 0) {
        error_set(error, ERROR_FAILED,
                  "cannot listen at %s (give status.listen another address, or \"off\"): %s", listen,
                  gai_strerror(problem));
        return -1;
    }
    for (const struct addrinfo *address = found; address && fd < 0; address = address->ai_next)
        fd = listen_on(address);
    int number = errno;
    freeaddrinfo(found);
    if (fd < 0)
        error_set_errno(error, ERROR_FAILED, number,
                        "cannot listen at %s (give status.listen another address, or \"off\")", listen);
    return fd;
}

bool server_open(struct server *server, struct ev_loop *loop, const char *listen, struct error *error)
{
    const char *port;
    int fd = open_socket(listen, error);
    if (fd < 0)
        return false;
    server->loop = loop;
    server->fd = fd;
    name_address(fd, server);
    (void)split(listen, server->host, &port);
    ev_io_init(&server->acceptable, on_acceptable, fd, EV_READ);
    ev_init(&server->resume, on_resume);
    ev_set_priority(&server->acceptable, PRIORITY);
    ev_set_priority(&server->resume, PRIORITY);
    server->acceptable.data = server->resume.data = server;
    ev_io_start(loop, &server->acceptable);
    return true;
}

void server_close(struct server *server)
{
    if (!server->loop)
        return;
    struct server_client *newer;
    for (struct server_client *client = server->oldest; client; client = newer) {
        newer = client->newer;
        drop(client);
    }
    ev_io_stop(server->loop, &server->acceptable);
    ev_timer_stop(server->loop, &server->resume);
    (void)close(server->fd);
    *server = (struct server){ 0 };
}
