/* Matching hosts; see allow.h. */
#include "worker/allow.h"

#include <ctype.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static bool is_address(struct slice host)
{
    bool numeric = host.size > 0;
    if (memchr(host.data, ':', host.size))
        return true;
    for (size_t i = 0; i < host.size; i++)
        numeric = numeric && (isdigit((unsigned char)host.data[i]) || host.data[i] == '.');
    return numeric;
}

/* Takes ":PORT" off the end; false where there is none. */
static bool take_port(struct slice *entry, uint16_t *ret_port)
{
    unsigned port = 0;
    size_t digits = 0;
    while (entry->size > 0 && isdigit((unsigned char)entry->data[entry->size - 1])) {
        entry->size--;
        digits++;
    }
    if (digits == 0 || digits > 5 || entry->size == 0 || entry->data[entry->size - 1] != ':')
        return false;
    for (size_t i = 0; i < digits; i++)
        port = port * 10 + (unsigned)(entry->data[entry->size + i] - '0');
    entry->size--;
    *ret_port = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

static bool same_name(struct slice one, struct slice other)
{
    return one.size == other.size && one.size > 0 && strncasecmp(one.data, other.data, one.size) == 0;
}

static struct slice without_brackets(struct slice name)
{
    if (name.size > 2 && name.data[0] == '[' && name.data[name.size - 1] == ']')
        return (struct slice){ .data = name.data + 1, .size = name.size - 2 };
    return name;
}

/* `suffix` begins with its dot. */
static bool is_below(struct slice host, struct slice suffix)
{
    if (suffix.size < 2 || host.size <= suffix.size || is_address(host) || host.data[0] == '.')
        return false;
    const struct slice end = { .data = host.data + host.size - suffix.size, .size = suffix.size };
    return same_name(end, suffix);
}

enum allow allow_match(struct slice entry, struct slice host, uint16_t port)
{
    uint16_t listed = 0;
    if (host.size == 0 || !take_port(&entry, &listed) || listed != port)
        return ALLOW_NOT;
    if (entry.size > 2 && entry.data[0] == '*' && entry.data[1] == '.') {
        const struct slice suffix = { .data = entry.data + 1, .size = entry.size - 1 };
        return is_below(host, suffix) ? ALLOW_BELOW : ALLOW_NOT;
    }
    return same_name(without_brackets(entry), host) ? ALLOW_EXACT : ALLOW_NOT;
}

/* Networks of IPv4 that are not the public's: special-purpose ones by RFC 6890, multicast, and the rest. */
static const struct {
    uint32_t network;
    unsigned bits;
} private_networks[] = {
    { 0x00000000, 8 },  /* this network */
    { 0x0a000000, 8 },  /* private */
    { 0x64400000, 10 }, /* behind a provider */
    { 0x7f000000, 8 },  /* this machine */
    { 0xa9fe0000, 16 }, /* link-local: metadata of clouds */
    { 0xac100000, 12 }, /* private */
    { 0xc0000000, 24 }, /* protocol assignments */
    { 0xc0000200, 24 }, /* documentation */
    { 0xc0a80000, 16 }, /* private */
    { 0xc6120000, 15 }, /* benchmarks */
    { 0xc6336400, 24 }, /* documentation */
    { 0xcb007100, 24 }, /* documentation */
    { 0xe0000000, 3 },  /* multicast, reserved, broadcast */
};

static bool is_private_4(uint32_t address)
{
    for (size_t i = 0; i < sizeof private_networks / sizeof private_networks[0]; i++) {
        if ((address ^ private_networks[i].network) >> (32 - private_networks[i].bits) == 0)
            return true;
    }
    return false;
}

static uint32_t last_four(const uint8_t *bytes)
{
    return (uint32_t)bytes[12] << 24 | (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 | bytes[15];
}

/* Public is 2000::/3 but for what carries an IPv4 address (6to4, Teredo) or is documentation, and NAT64 of a
 * public IPv4 address. */
static bool is_private_6(const uint8_t *bytes)
{
    static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (memcmp(bytes, nat64, sizeof nat64) == 0 || memcmp(bytes, mapped, sizeof mapped) == 0)
        return is_private_4(last_four(bytes));
    if (bytes[0] >> 5 != 1)
        return true;
    return (bytes[0] == 0x20 && bytes[1] == 0x02) ||
           (bytes[0] == 0x20 && bytes[1] == 0x01 &&
            ((bytes[2] == 0x0d && bytes[3] == 0xb8) || (bytes[2] == 0 && bytes[3] == 0)));
}

bool allow_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof four);
        return is_private_4(ntohl(four.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof six);
        return is_private_6(six.sin6_addr.s6_addr);
    }
    return true;
}
