/* Explaining why there is no connection; see refusal.h. */
#include "host/amqp/refusal.h"

#include "common/clock.h"
#include "common/units.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REPLY_ACCESS_REFUSED = 403, REPLY_NOT_ALLOWED = 530 };

static const char no_amqp[] = "does this port speak AMQP 0-9-1 (5672 as a rule, or 5671 with amqps://)?";
static const char no_tls[] =
    "is this the broker's TLS port (5671 as a rule), and does it want another client "
    "certificate (broker.tls.cert, broker.tls.key)?";

static bool refuse(struct error *error, const struct address *address, const char *what, const char *reason,
                   const char *advice)
{
    return error_set(error, ERROR_FAILED, "broker %s: %s: %s; %s", address->name, what, reason, advice);
}

/* The errno value with which the system refuses a connection to one address; 0 where it does not. */
static int try_address(const struct addrinfo *address, int64_t timeout_ns)
{
    const struct timeval timeout = { .tv_sec = timeout_ns / CLOCK_NS_PER_SECOND,
                                     .tv_usec = timeout_ns % CLOCK_NS_PER_SECOND / 1000 };
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0)
        return errno;
    bool connected = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0 &&
                     connect(fd, address->ai_addr, address->ai_addrlen) == 0;
    int number = connected ? 0 : errno;
    (void)close(fd);
    return number == EINPROGRESS ? ETIMEDOUT : number;
}

/* rabbitmq-c says "a socket error occurred" and keeps the reason, so the system is asked once more. Its
 * words, or "" where it does not refuse any longer. */
static const char *system_reason(const struct broker_config *config, const struct address *address,
                                 char *scratch, size_t size)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char port[16];
    int number = 0;
    (void)snprintf(port, sizeof port, "%d", address->port);
    if (getaddrinfo(address->host, port, &hints, &found) != 0)
        return "";
    for (const struct addrinfo *next = found; next; next = next->ai_next)
        number = try_address(next, config->connection_timeout_ns);
    freeaddrinfo(found);
    return number ? strerror_r(number, scratch, size) : "";
}

static bool timed_out(const struct broker_config *config, const struct address *address, const char *what,
                      const char *advice, struct error *error)
{
    char timeout[UNITS_TEXT_MAX];
    char reason[UNITS_TEXT_MAX + 64];
    (void)snprintf(reason, sizeof reason, "no answer within %s (broker.connection_timeout)",
                   units_format_duration(config->connection_timeout_ns, timeout));
    return refuse(error, address, what, reason, advice);
}

bool refusal_of_connect(const struct broker_config *config, const struct address *address, int status,
                        struct error *error)
{
    static const char what[] = "cannot connect";
    static const char at_all[] = "is it running there, and is the port right?";
    char scratch[128];
    const char *reason = "";
    switch (status) {
    case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
        return refuse(
            error, address, what, "its certificate is not trusted",
            "set broker.tls.ca to the file of the authority that signed it, and see that it has not "
            "expired");
    case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
        return refuse(error, address, what, "its certificate is for another host name",
                      "use a name in the URL that the certificate has (a bare IP address is never one)");
    case AMQP_STATUS_SSL_CONNECTION_FAILED:
    case AMQP_STATUS_SSL_ERROR:
        return refuse(error, address, what, "the TLS handshake failed", no_tls);
    case AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED:
        return refuse(error, address, what, "no such host is known", "check the host name");
    case AMQP_STATUS_TIMEOUT:
        return timed_out(config, address, what, at_all, error);
    case AMQP_STATUS_SOCKET_ERROR:
        reason = system_reason(config, address, scratch, sizeof scratch);
        break;
    default:
        break;
    }
    return refuse(error, address, what, *reason ? reason : amqp_error_string2(status), at_all);
}

/* Login */

static const char *advice_for_close(const struct broker_config *config, unsigned code)
{
    switch (code) {
    case REPLY_ACCESS_REFUSED:
        return config->auth == CONFIG_AUTH_EXTERNAL
                   ? "the broker must know a user by the name in the certificate"
                   : "check user and password in the URL";
    case REPLY_NOT_ALLOWED:
        return "check the vhost in the URL, and the user's permissions on it";
    default:
        return "see the broker's log";
    }
}

static bool closed_by_broker(const struct broker_config *config, const struct address *address,
                             const amqp_connection_close_t *close, struct error *error)
{
    bool external = config->auth == CONFIG_AUTH_EXTERNAL;
    int size = (int)close->reply_text.len;
    const char *text = close->reply_text.bytes;
    while (size > 0 && (text[size - 1] == '.' || text[size - 1] == ' '))
        size--;
    return error_set(error, ERROR_FAILED, "broker %s refuses %s%s: %.*s; %s", address->name,
                     external ? "the certificate" : "user ", external ? "" : address->user, size, text,
                     advice_for_close(config, close->reply_code));
}

static bool login_broke(const struct broker_config *config, const struct address *address, int status,
                        struct error *error)
{
    static const char what[] = "cannot log in";
    switch (status) {
    case AMQP_STATUS_TIMEOUT:
        return timed_out(config, address, what, no_amqp, error);
    case AMQP_STATUS_CONNECTION_CLOSED:
    case AMQP_STATUS_SOCKET_ERROR:
    case AMQP_STATUS_SSL_ERROR:
        return refuse(error, address, what, "it hung up", address->tls ? no_tls : no_amqp);
    case AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD:
        return refuse(error, address, what,
                      config->auth == CONFIG_AUTH_EXTERNAL ? "it does not take EXTERNAL logins"
                                                           : "it does not take PLAIN logins",
                      "see auth_mechanisms in the broker's configuration, and broker.auth in this one");
    case AMQP_STATUS_BAD_AMQP_DATA:
    case AMQP_STATUS_UNKNOWN_CLASS:
    case AMQP_STATUS_UNKNOWN_METHOD:
    case AMQP_STATUS_WRONG_METHOD:
    case AMQP_STATUS_UNEXPECTED_STATE:
    case AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION:
        return refuse(error, address, what, "what it answers is not AMQP 0-9-1", no_amqp);
    default:
        return refuse(error, address, what, amqp_error_string2(status), "see the broker's log");
    }
}

bool refusal_of_login(const struct broker_config *config, const struct address *address,
                      amqp_rpc_reply_t reply, struct error *error)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return login_broke(config, address, reply.library_error, error);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
        return closed_by_broker(config, address, reply.reply.decoded, error);
    return login_broke(config, address, AMQP_STATUS_WRONG_METHOD, error);
}
