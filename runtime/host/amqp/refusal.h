/* Why a broker cannot be reached, or refuses the login, as a sentence with advice. Called by dial.c on the
 * dialling thread, so that asking the system may wait. Each fills the error and returns false. */
#ifndef HOST_AMQP_REFUSAL_H
#define HOST_AMQP_REFUSAL_H

#include "common/error.h"
#include "host/amqp/address.h"
#include "host/config.h"

#include <amqp.h>

/* `status`: what amqp_socket_open_noblock returned. */
bool refusal_of_connect(const struct broker_config *config, const struct address *address, int status,
                        struct error *error);

/* `reply`: what the login returned; its contents must still be there. */
bool refusal_of_login(const struct broker_config *config, const struct address *address,
                      amqp_rpc_reply_t reply, struct error *error);

#endif
