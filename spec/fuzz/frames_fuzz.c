/* What a broker sends on a connection that is open: bytes to frames, to events, to deliveries in the ledger.
 * No event reaches beyond what came, no delivery beyond its bounds, and what is delivered can be read to its
 * end. rabbitmq-c reads the bytes, from a socket pair. */
#include "common/fields.h"
#include "common/wire.h"
#include "host/amqp/internal.h"
#include "host/assembly.h"
#include "host/letter.h"

#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include <amqp_tcp_socket.h>

enum { PREFETCH = 4, BODY_LIMIT = 4096, INPUT_MAX = 64 * 1024, EVENTS_MAX = 10000 };

/* As dial.c leaves it, without the login: rabbitmq-c waits for a protocol header first, which is there. */
static struct connection *open_connection(int fd)
{
    struct event event;
    struct error error;
    struct connection *connection = calloc(1, sizeof *connection);
    MUST(connection);
    connection->state = amqp_new_connection();
    MUST(connection->state);
    amqp_socket_t *socket = amqp_tcp_socket_new(connection->state);
    MUST(socket);
    amqp_tcp_socket_set_sockfd(socket, fd);
    MUST(connection_read(connection, &event, &error) == CONNECTION_EVENT);
    MUST(amqp_tune_connection(connection->state, 16, CONNECTION_FRAME_TAKEN_MAX, 0) == AMQP_STATUS_OK);
    connection->frame_max = 128 * 1024;
    buffer_init(&connection->attributes, WIRE_ATTRIBUTES_MAX);
    init_amqp_pool(&connection->scratch, 4096);
    return connection;
}

static void must_be_attributes(struct slice attributes)
{
    struct wire_attribute attribute;
    enum wire_next next;
    MUST(attributes.size <= WIRE_ATTRIBUTES_MAX + 2048);
    while ((next = wire_take_attribute(&attributes, &attribute)) == WIRE_FRAME)
        MUST(attribute.value.size <= WIRE_ATTRIBUTES_MAX);
    MUST(next == WIRE_MORE);
}

static void must_be_delivery(const struct delivery *delivery)
{
    struct slice attributes = delivery_attributes(delivery);
    struct slice body = delivery_body(delivery);
    must_be_attributes(attributes);
    MUST(delivery->state == DELIVERY_HELD);
    MUST(body.size == (delivery->oversized ? 0 : delivery->body_bytes));
    MUST(delivery->oversized || body.size <= BODY_LIMIT);
    MUST(letter_attempt(attributes, delivery->redelivered, delivery->failed) >= 1);
}

/* Every byte of it. */
static void read_text(struct slice text)
{
    char copy[256];
    size_t size = text.size < sizeof copy ? text.size : sizeof copy;
    if (size > 0)
        memcpy(copy, text.data, size);
}

/* False where the host would give the connection up. */
static bool take(const struct event *event, struct assembly *assembly, struct ledger *ledger)
{
    struct delivery *delivery = NULL;
    struct error error = { 0 };
    read_text(event->text);
    read_text(event->exchange);
    read_text(event->routing_key);
    if (event->kind == EVENT_HEADER)
        must_be_attributes(event->attributes);
    switch (assembly_take(assembly, ledger, event, "orders", BODY_LIMIT, &delivery, &error)) {
    case ASSEMBLY_BROKEN:
        MUST(error.text[0] != '\0');
        return false;
    case ASSEMBLY_WHOLE: {
        struct settlement settlement;
        must_be_delivery(delivery);
        ledger_settle(ledger, delivery, SETTLE_REJECT, 0);
        while (ledger_next_settlement(ledger, 0, &settlement))
            continue;
        return true;
    }
    case ASSEMBLY_MORE:
    default:
        return true;
    }
}

static void read_all(struct connection *connection)
{
    struct assembly assembly;
    struct ledger ledger;
    struct event event;
    struct error error = { 0 };
    assembly_init(&assembly);
    MUST(ledger_init(&ledger, PREFETCH, &error));
    enum connection_next next = CONNECTION_EVENT;
    for (int i = 0; i < EVENTS_MAX && next == CONNECTION_EVENT; i++) {
        next = connection_read(connection, &event, &error);
        if (next == CONNECTION_EVENT && !take(&event, &assembly, &ledger))
            break;
    }
    MUST(next != CONNECTION_LOST || error.text[0] != '\0');
    assembly_clear(&assembly);
    ledger_clear(&ledger);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char protocol[] = { 'A', 'M', 'Q', 'P', 0, 0, 9, 1 };
    int fds[2];
    if (size > INPUT_MAX)
        return 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    MUST(send(fds[1], protocol, sizeof protocol, MSG_NOSIGNAL) == sizeof protocol);
    struct connection *connection = open_connection(fds[0]);
    MUST(send(fds[1], data, size, MSG_NOSIGNAL) == (ssize_t)size);
    MUST(shutdown(fds[1], SHUT_WR) == 0);
    read_all(connection);
    connection_free(connection);
    (void)close(fds[1]);
    return 0;
}
