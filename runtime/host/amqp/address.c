/* Taking broker URLs apart; see address.h. */
#include "host/amqp/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <amqp.h>

/* A percent escape is decoded in place, which leaves its tail behind: everything up to the next part of the
 * URL is overwritten. */
void address_forget_password(struct address *address)
{
    const char *end = address->storage + address->storage_bytes;
    const char *password = address->password;
    if (password >= address->storage && password < end) {
        if (address->vhost > password && address->vhost < end)
            end = address->vhost;
        if (address->host > password && address->host < end)
            end = address->host;
        explicit_bzero(address->storage + (password - address->storage), (size_t)(end - password));
    }
    address->password = "";
}

void address_clear(struct address *address)
{
    if (address->storage)
        explicit_bzero(address->storage, address->storage_bytes);
    free(address->storage);
    *address = (struct address){ 0 };
}

static bool is_ipv6(const char *host)
{
    char digits[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    size_t length = strcspn(host, "%"); /* a zone may follow */
    if (length >= sizeof digits)
        return false;
    memcpy(digits, host, length);
    digits[length] = '\0';
    return inet_pton(AF_INET6, digits, &parsed) == 1;
}

/* rabbitmq-c takes anything in brackets for a host, user and password included. */
static bool is_host(const char *host)
{
    return *host && !strchr(host, '@') && (!strchr(host, ':') || is_ipv6(host));
}

static void name_for_people(struct address *address)
{
    const char *vhost = strcmp(address->vhost, "/") == 0 ? "%2f" : address->vhost;
    bool brackets = strchr(address->host, ':') != NULL;
    (void)snprintf(address->name, sizeof address->name, "%s://%s%s%s:%d/%s", address->tls ? "amqps" : "amqp",
                   brackets ? "[" : "", address->host, brackets ? "]" : "", address->port, vhost);
}

bool address_parse(struct address *address, const char *url, struct error *error)
{
    struct amqp_connection_info info;
    *address = (struct address){ .storage = strdup(url), .storage_bytes = strlen(url) };
    if (!address->storage)
        return error_set(error, ERROR_FAILED, "no memory for a broker URL");
    /* An escaped NUL would end the user or the password early, and nobody would know why it is refused. */
    bool parsed = !strstr(url, "%00") && amqp_parse_url(address->storage, &info) == AMQP_STATUS_OK;
    if (!parsed || !is_host(info.host) || info.port == 0) {
        address_clear(address);
        return error_set(
            error, ERROR_USAGE,
            "a broker URL must be amqp://user:password@host:port/vhost (amqps:// for TLS; special "
            "characters as %%XX, the default vhost as %%2f)");
    }
    address->user = info.user;
    address->password = info.password;
    address->host = info.host;
    /* A URL that ends in a bare slash means the default vhost to everybody who writes one. */
    address->vhost = *info.vhost ? info.vhost : "/";
    address->port = info.port;
    address->tls = info.ssl != 0;
    name_for_people(address);
    return true;
}
