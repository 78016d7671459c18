/* Broker URLs: checked, taken apart, and printed without their password. Pure. */
#ifndef HOST_AMQP_ADDRESS_H
#define HOST_AMQP_ADDRESS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { ADDRESS_NAME_MAX = 512 };

struct address {
    char *storage; /* owned: what the pointers below point into, or at constants where the URL is silent */
    size_t storage_bytes;
    const char *user;
    const char *password;
    const char *host;
    const char *vhost;
    int port;
    bool tls;
    char name[ADDRESS_NAME_MAX]; /* "amqp://host:port/vhost": for people, without user and password */
};

bool address_parse(struct address *address, const char *url, struct error *error);
/* Overwrites the password and forgets it: a connection that is logged in needs it no more. */
void address_forget_password(struct address *address);
void address_clear(struct address *address);

#endif
