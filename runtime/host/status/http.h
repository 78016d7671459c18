/* As much of HTTP/1.1 as the status listener speaks: the head of a request read, the head of a response
 * written. A request is its first line and whom it means; other headers are passed over, and a body is never
 * looked at. Pure. */
#ifndef HOST_STATUS_HTTP_H
#define HOST_STATUS_HTTP_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    HTTP_REQUEST_MAX = 8192, /* of a whole head: a browser may bring cookies that others have set */
    HTTP_HEAD_MAX = 1024,    /* of a response */
};

enum http_next {
    HTTP_MORE,    /* the head has not come whole */
    HTTP_REQUEST, /* it has */
    HTTP_BROKEN,  /* this is no HTTP/1.x */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OTHER };

struct http_request {
    enum http_method method;
    struct slice path; /* without what follows a '?'; borrowed from the bytes, as is */
    struct slice
        host; /* whom it asks, "name:port" or "name": by its target, else by the header Host; or empty */
};

/* Looks at the bytes that have come. */
enum http_next http_next(struct slice bytes, struct http_request *request);

/* Whether a request for this host can be for somebody on this machine alone: it names an address, localhost,
 * `own` (what the listener is called) or nobody. A web page that has its own name lead here (DNS rebinding)
 * asks by that name. */
bool http_host_is_local(struct slice host, const char *own);

/* The head of a response with a body of so many bytes, after which the connection ends. It fits
 * HTTP_HEAD_MAX. */
void http_put_head(struct buffer *to, unsigned code, const char *type, size_t body_bytes);

const char *http_phrase(unsigned code); /* "Not Found" */

#endif
