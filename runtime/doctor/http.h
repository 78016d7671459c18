/* Asking an HTTP API by GET, one request after the other: RabbitMQ's management.
 *
 * Whatever answers is a stranger: an answer is bounded in time and in bytes, nothing is unpacked, a redirect
 * is not followed, no proxy is used, and TLS is verified. User and password come from the URL, go to that
 * host only, and are in no text. Waits; for commands, not for the loop. */
#ifndef DOCTOR_HTTP_H
#define DOCTOR_HTTP_H

#include "common/buffer.h"
#include "common/error.h"
#include "host/config.h"

#include <stdbool.h>

enum {
    HTTP_NAME_MAX = 512,
    HTTP_PATH_MAX = 2048,
    HTTP_BODY_BYTES_MAX = 4 * 1024 * 1024, /* of one answer */
};

struct http;

/* Of broker.management, with the timeouts and authorities of the broker; both must outlive it. */
struct http *http_open(const struct broker_config *config, struct error *error);
void http_close(struct http *http); /* NULL is allowed */

const char *http_name(const struct http *http); /* "http://host:port": the URL without user and password */

enum http_answer { HTTP_ANSWERED, HTTP_TOO_LARGE, HTTP_FAILED };

/* `path` begins with a slash and is added to the URL. The answer's body is in `http` until the next call. */
enum http_answer http_get(struct http *http, const char *path, long *ret_status, struct slice *ret_body,
                          struct error *error);

#endif
