/* Connecting and logging in: the part of a connection's life that waits, so it runs on a thread of its own.
 */
#include "host/amqp/internal.h"

#include "common/clock.h"
#include "host/amqp/refusal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>

/* Where Debian and most others keep the authorities that the system trusts; rabbitmq-c knows no default. */
static const char system_authorities[] = "/etc/ssl/certs/ca-certificates.crt";

enum { SCRATCH_PAGE_BYTES = 4096 };

static struct timeval timeval_of(int64_t nanoseconds)
{
    return (struct timeval){
        .tv_sec = nanoseconds / CLOCK_NS_PER_SECOND,
        .tv_usec = nanoseconds % CLOCK_NS_PER_SECOND / 1000,
    };
}

/* OpenSSL would ask the terminal for the passphrase, on whatever thread, and wait. */
static bool needs_passphrase(const char *key)
{
    char head[4096];
    FILE *file = fopen(key, "re");
    size_t size = file ? fread(head, 1, sizeof head, file) : 0;
    bool encrypted = memmem(head, size, "ENCRYPTED", strlen("ENCRYPTED")) != NULL;
    if (file)
        (void)fclose(file);
    return encrypted;
}

static bool set_certificate(amqp_socket_t *socket, const struct tls_config *tls, struct error *error)
{
    if (needs_passphrase(tls->key))
        return error_set(
            error, ERROR_USAGE,
            "broker.tls.key: %s is locked by a passphrase, which nobody is there to type: give a "
            "key without, that only this program may read",
            tls->key);
    return amqp_ssl_socket_set_key(socket, tls->cert, tls->key) == AMQP_STATUS_OK ||
           error_set(error, ERROR_USAGE,
                     "broker.tls: certificate %s and key %s cannot be used: both must be readable PEM files "
                     "and belong together",
                     tls->cert, tls->key);
}

/* The socket belongs to the state; NULL where the files of broker.tls cannot be used. */
static amqp_socket_t *tls_socket(amqp_connection_state_t state, const struct tls_config *tls,
                                 struct error *error)
{
    amqp_socket_t *socket = amqp_ssl_socket_new(state);
    if (!socket) {
        error_set(error, ERROR_FAILED, "TLS could not be set up: is there memory left?");
        return NULL;
    }
    amqp_ssl_socket_set_verify_peer(socket, tls->verify);
    amqp_ssl_socket_set_verify_hostname(socket, tls->verify);
    const char *authorities = tls->ca ? tls->ca : system_authorities;
    int status = tls->verify || tls->ca ? amqp_ssl_socket_set_cacert(socket, authorities) : AMQP_STATUS_OK;
    if (status != AMQP_STATUS_OK) {
        error_set(error, ERROR_USAGE,
                  "broker.tls.ca: no certificates of authorities can be read from %s: set it to a PEM file",
                  authorities);
        return NULL;
    }
    return !tls->cert || set_certificate(socket, tls, error) ? socket : NULL;
}

bool connection_check(const struct broker_config *config, struct error *error)
{
    bool wanted = false;
    for (size_t i = 0; i < config->url_count; i++)
        wanted = wanted || strncasecmp(config->urls[i], "amqps:", strlen("amqps:")) == 0;
    if (!wanted)
        return true;
    amqp_connection_state_t state = amqp_new_connection();
    if (!state)
        return error_set(error, ERROR_FAILED, "no memory for a connection");
    bool usable = tls_socket(state, &config->tls, error) != NULL;
    (void)amqp_destroy_connection(state);
    return usable;
}

static bool open_socket(struct connection *connection, const struct broker_config *config,
                        struct error *error)
{
    const struct address *address = &connection->address;
    amqp_socket_t *socket = address->tls ? tls_socket(connection->state, &config->tls, error)
                                         : amqp_tcp_socket_new(connection->state);
    if (!socket) {
        return address->tls
                   ? false
                   : error_set(error, ERROR_FAILED, "broker %s: no memory for a socket", address->name);
    }
    struct timeval timeout = timeval_of(config->connection_timeout_ns);
    int status = amqp_socket_open_noblock(socket, address->host, address->port, &timeout);
    return status == AMQP_STATUS_OK || refusal_of_connect(config, address, status, error);
}

/* A broker that has vanished without a word is found by the heartbeat; unacknowledged data must not keep the
 * kernel trying for a quarter of an hour after that. */
static bool tune_socket(struct connection *connection, const struct broker_config *config,
                        struct error *error)
{
    int fd = amqp_get_sockfd(connection->state);
    int on = 1;
    /* What Linux gives to anybody (net.core.wmem_max). It is doubled for the kernel's own needs, so that a
     * third of it takes the largest frame: nothing that is sent after POLLOUT waits. */
    const int send_buffer_bytes = 208 * 1024;
    connection->io_timeout_ms = (unsigned)(config->io_timeout_ns / CLOCK_NS_PER_MS);
    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &connection->io_timeout_ms,
                   sizeof connection->io_timeout_ms) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "broker %s: cannot set socket options",
                               connection->address.name);
    return true;
}

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
    amqp_table_entry_t entry = { .key = amqp_cstring_bytes(key) };
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(text);
    return entry;
}

static amqp_table_entry_t true_entry(const char *key)
{
    amqp_table_entry_t entry = { .key = amqp_cstring_bytes(key) };
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static bool login(struct connection *connection, const struct broker_config *config, unsigned channel_max,
                  struct error *error)
{
    /* Without these two the broker cancels consumers and blocks publishers without a word
     * (https://www.rabbitmq.com/consumer-cancel.html, https://www.rabbitmq.com/connection-blocked.html). */
    amqp_table_entry_t capabilities[] = { true_entry("consumer_cancel_notify"),
                                          true_entry("connection.blocked") };
    char name[128];
    (void)snprintf(name, sizeof name, "moonrabbit pid %ld", (long)getpid());
    amqp_table_entry_t entries[] = { text_entry("product", "moonrabbit"),
                                     text_entry("version", MOONRABBIT_VERSION),
                                     text_entry("connection_name", name),
                                     { .key = amqp_cstring_bytes("capabilities") } };
    amqp_table_entry_t *capability_entry = &entries[3];
    capability_entry->value.kind = AMQP_FIELD_KIND_TABLE;
    capability_entry->value.value.table = (amqp_table_t){ .num_entries = 2, .entries = capabilities };
    const amqp_table_t properties = { .num_entries = 4, .entries = entries };

    struct timeval timeout = timeval_of(config->connection_timeout_ns);
    if (amqp_set_handshake_timeout(connection->state, &timeout) != AMQP_STATUS_OK)
        return error_set(error, ERROR_FAILED, "cannot set the login timeout");
    const struct address *address = &connection->address;
    /* The user that the URL names says whom the certificate's holder wants to be, for brokers that ask;
     * RabbitMQ looks at the certificate only. rabbitmq-c takes an empty name for a lack of memory. */
    amqp_rpc_reply_t reply =
        config->auth == CONFIG_AUTH_EXTERNAL
            ? amqp_login_with_properties(connection->state, address->vhost, (int)channel_max,
                                         CONNECTION_FRAME_MAX, config->heartbeat_seconds, &properties,
                                         AMQP_SASL_METHOD_EXTERNAL, address->user)
            : amqp_login_with_properties(connection->state, address->vhost, (int)channel_max,
                                         CONNECTION_FRAME_MAX, config->heartbeat_seconds, &properties,
                                         AMQP_SASL_METHOD_PLAIN, address->user, address->password);
    return reply.reply_type == AMQP_RESPONSE_NORMAL || refusal_of_login(config, address, reply, error);
}

/* rabbitmq-c refuses frames over what was agreed on. The broker does not keep to it, and delivers again what
 * cost the connection; so from here on it is this program that looks at what it sends. */
static bool take_larger_frames(struct connection *connection, struct error *error)
{
    amqp_connection_state_t state = connection->state;
    connection->frame_max = amqp_get_frame_max(state);
    int status = amqp_tune_connection(state, amqp_get_channel_max(state), CONNECTION_FRAME_TAKEN_MAX,
                                      amqp_get_heartbeat(state));
    return status == AMQP_STATUS_OK ||
           error_set(error, ERROR_FAILED, "broker %s: no memory for its frames", connection->address.name);
}

struct connection *connection_dial(const struct broker_config *config, const char *url, unsigned channel_max,
                                   struct error *error)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        error_set(error, ERROR_FAILED, "no memory for a connection");
        return NULL;
    }
    buffer_init(&connection->attributes, WIRE_ATTRIBUTES_MAX);
    init_amqp_pool(&connection->scratch, SCRATCH_PAGE_BYTES);
    if (!address_parse(&connection->address, url, error))
        goto failed;
    connection->state = amqp_new_connection();
    /* All of it now: later there is no telling whether memory is short, or a header too large. */
    if (!connection->state || !buffer_reserve(&connection->attributes, WIRE_ATTRIBUTES_MAX)) {
        error_set(error, ERROR_FAILED, "no memory for a connection");
        goto failed;
    }
    if (!open_socket(connection, config, error) || !tune_socket(connection, config, error) ||
        !login(connection, config, channel_max, error) || !take_larger_frames(connection, error))
        goto failed;
    address_forget_password(&connection->address);
    return connection;
failed:
    connection_free(connection);
    return NULL;
}
